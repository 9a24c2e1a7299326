"""Models are found by the names that clients know, and by no others."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modelfetch.errors import ConfigError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import Manifest, PinOrigin
from modelfetch.share.model_index import ModelIndex
from modelfetch.share.shared_models import SharedModels
from tests.descriptors import no_descriptors
from tests.share.home import COMMIT, CONTENTS, OTHER_COMMIT, Home, digest, model
from tests.store.material import WHEN


def index(*manifests: Manifest, present: tuple[str, ...] = ()) -> ModelIndex:
    return ModelIndex(manifests, lambda each: WHEN if each.name in present else None)


def resolved(found: ModelIndex, revision: str, repo: str = "org/tiny") -> str | None:
    """The commit that a revision of a repository stands for."""
    hub_repo = found.hub_repo("model", repo)
    assert hub_repo is not None
    snapshot = hub_repo.resolve(revision)
    return None if snapshot is None else snapshot.commit


@pytest.mark.parametrize("revision", ["main", COMMIT, COMMIT[:7], COMMIT[:39]])
def test_a_revision_is_main_or_a_commit(revision: str) -> None:
    assert resolved(index(model()), revision) == COMMIT


@pytest.mark.parametrize(
    "revision", ["", "master", COMMIT[:6], COMMIT + "0", COMMIT.upper(), "..", "refs/pr/1", "v1"]
)
def test_any_other_revision_is_unknown(revision: str) -> None:
    assert resolved(index(model()), revision) is None


def test_an_abbreviation_of_two_commits_is_unknown() -> None:
    first, second = "a" * 39 + "0", "a" * 39 + "1"
    found = index(model("one", commit=first), model("two", commit=second))
    assert resolved(found, "a" * 10) is None
    assert resolved(found, second) == second


def test_the_branch_of_a_pin_is_its_commit() -> None:
    pinned = model(upstream=PinOrigin("hf:org/tiny@v2.0", added="2026-01-01"))
    assert resolved(index(pinned), "v2.0") == COMMIT
    assert resolved(index(replace(pinned, upstream=PinOrigin("gh:org/tiny@v2.0"))), "v2.0") is None


def test_main_is_the_commit_that_was_fetched_last() -> None:
    one, two = model("one"), model("two", commit=OTHER_COMMIT)
    assert resolved(index(one, two), "main") == COMMIT
    assert resolved(index(one, two, present=("two",)), "main") == OTHER_COMMIT
    times = {"one": WHEN + timedelta(1), "two": WHEN}
    assert resolved(ModelIndex([one, two], lambda each: times[each.name]), "main") == COMMIT


def test_main_is_else_the_commit_that_was_added_last() -> None:
    old = model("one", upstream=PinOrigin("hf:org/tiny", added="2026-01-01"))
    new = model("two", commit=OTHER_COMMIT, upstream=PinOrigin("hf:org/tiny", added="2026-02-01"))
    assert resolved(index(old, new), "main") == OTHER_COMMIT


def test_manifests_of_one_commit_are_one_repository() -> None:
    one, two = model("one", {"a": b"1"}), model("two", {"b": b"2"})
    snapshot = index(one, two, present=("two",)).hub_repo("model", "org/tiny").resolve("main")  # type: ignore[union-attr]
    assert snapshot is not None
    assert snapshot.file("a").manifest is one  # type: ignore[union-attr]
    assert list(snapshot.listing(absent=True)) == ["a", "b"]
    assert list(snapshot.listing(absent=False)) == ["b"]


def test_without_any_model_all_files_are_listed() -> None:
    snapshot = index(model("one", {"a": b"1"})).hub_repo("model", "org/tiny").resolve("main")  # type: ignore[union-attr]
    assert list(snapshot.listing(absent=False)) == ["a"]  # type: ignore[union-attr]


def test_the_more_trusted_manifest_decides_about_a_path() -> None:
    good, bad = model("good", {"a": b"1"}), model("bad", {"a": b"2"})
    snapshot = index(good, bad, present=("bad",)).hub_repo("model", "org/tiny").resolve("main")  # type: ignore[union-attr]
    assert snapshot.file("a").file.sha256 == digest(b"1")  # type: ignore[union-attr]


def test_a_file_has_the_path_of_its_repository() -> None:
    [file, *_] = model().files
    pinned = replace(model(), files=(replace(file, huggingface_path="deep/config.json"),))
    found = index(pinned)
    by_repo, by_name = found.hub_repo("model", "org/tiny"), found.hub_repo("model", "tiny")
    assert by_repo is not None
    assert by_name is not None
    assert by_repo.resolve("main").file("config.json") is None  # type: ignore[union-attr]
    assert by_repo.resolve("main").file("deep/config.json") is not None  # type: ignore[union-attr]
    for path in ("config.json", "deep/config.json"):
        assert by_name.resolve("v1").file(path) is not None  # type: ignore[union-attr]
    assert list(by_name.resolve("main").listing(absent=False)) == ["config.json"]  # type: ignore[union-attr]


def test_a_model_without_a_repository_has_its_identity_as_commit() -> None:
    pinned = model(repo="")
    assert resolved(index(pinned), "main", "tiny") == pinned.identity[:40]
    assert index(pinned).hub_repo("model", "org/tiny") is None


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_repositories_of_another_type_are_others(kind: str) -> None:
    found = index(model(repo_type=kind))
    assert found.hub_repo("model", "org/tiny") is None
    assert found.hub_repo(kind, "org/tiny") is not None  # type: ignore[arg-type]
    assert found.hub_repo(kind, "tiny") is None  # type: ignore[arg-type]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "name", ["", "org", "org/", "/tiny", "org/tiny/", "Org/tiny", "../org/tiny", "org/tiny "]
)
def test_a_name_must_be_exact(name: str) -> None:
    assert index(model()).hub_repo("model", name) is None
    assert index(model()).registry_repo(name) is None


def test_a_registry_repository_is_a_model_or_what_its_manifest_names() -> None:
    found = index(model(oci="registry.example/models/tiny"))
    for name in ("tiny", "models/tiny", "registry.example/models/tiny"):
        repo = found.registry_repo(name)
        assert repo is not None
        assert set(repo.tags()) == {"v1", "latest"}
    assert found.registry_repo("other.example/models/tiny") is None


def test_a_mirror_has_only_the_repositories_of_that_registry() -> None:
    found = index(model(oci="registry.example/models/tiny"))
    assert found.registry_repo("models/tiny", "registry.example") is not None
    assert found.registry_repo("models/tiny", "other.example") is None
    assert found.registry_repo("tiny", "registry.example") is None


def test_latest_is_the_model_that_was_fetched_last() -> None:
    one = model("one", version="1", oci="r.example/models")
    two = model("two", version="2", oci="r.example/models")
    repo = index(one, two, present=("one",)).registry_repo("models")
    assert repo is not None
    assert repo.tags() == {"1": one, "2": two, "latest": one}


# Following the catalogs


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_manifest_is_seen_after_a_second_and_soon_if_it_was_missed(home: Home) -> None:
    clock = Clock()
    models = SharedModels(home.load, clock)
    assert models.current().registry_repo("tiny") is None
    home.pin(model())
    clock.now = 0.05
    assert models.current(missed=True).registry_repo("tiny") is None
    clock.now = 0.2
    assert models.current().registry_repo("tiny") is None
    assert models.current(missed=True).registry_repo("tiny") is not None


def test_an_unchanged_catalog_gives_the_same_index(home: Home) -> None:
    clock = Clock()
    models = SharedModels(home.load, clock)
    home.pin(model())
    before = models.current()
    clock.now = 10
    assert models.current() is before
    home.pin(model(version="v2"))
    clock.now = 20
    assert models.current() is not before


def test_an_invalid_manifest_is_left_out(home: Home) -> None:
    home.pin(model("good"))
    (home.catalog / "bad.toml").write_text("schema = 7", "utf-8")
    found = home.models().current()
    assert found.registry_repo("good") is not None
    assert found.registry_repo("bad") is None


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of files that cannot be opened, as if too many were open."""
    names: set[str] = set()
    real = os.open

    def busy(path: Any, *arguments: Any, **named: Any) -> int:
        if Path(os.fsdecode(path)).name in names:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", busy)
    return names


def test_a_changed_manifest_that_cannot_be_read_now_stays_what_it_was(
    home: Home, unreadable: set[str]
) -> None:
    clock = Clock()
    models = SharedModels(home.load, clock)

    def tags() -> set[str]:
        repo = models.current().registry_repo("tiny")
        assert repo is not None
        return set(repo.tags())

    home.pin(model(version="v1"))
    assert tags() == {"v1", "latest"}
    home.pin(model(version="v2"))
    unreadable.add("tiny.toml")
    clock.now = 10
    assert tags() == {"v1", "latest"}
    unreadable.clear()
    clock.now = 20
    assert tags() == {"v2", "latest"}


def test_settings_that_became_wrong_change_nothing(home: Home) -> None:
    home.pin(model())
    clock = Clock()
    models = SharedModels(home.load, clock)
    before = models.current()
    home.catalog.rename(home.root / "elsewhere")
    clock.now = 10
    assert models.current() is before
    with pytest.raises(ConfigError):
        home.models().current()


def test_a_receipt_is_what_makes_a_model_present(home: Home) -> None:
    home.place(model("here"))
    home.pin(model("gone", CONTENTS | {"more": b""}))
    snapshot = home.models().current().hub_repo("model", "org/tiny").resolve("main")  # type: ignore[union-attr]
    assert list(snapshot.listing(absent=False)) == sorted(CONTENTS)  # type: ignore[union-attr]


def test_a_manifest_that_could_not_be_opened_is_found_when_it_can_be(home: Home) -> None:
    clock, workspace = Clock(), home.load()
    models = SharedModels(lambda: workspace, clock)
    home.pin(model("one"))
    workspace = home.load()
    assert models.current().registry_repo("one") is not None
    home.pin(model("two", {"a": b"1"}))
    workspace = home.load()
    with no_descriptors():
        for clock.now in (10.0, 20.0):  # the second time nothing has changed
            found = {each.name for each in models.current().manifests}
            assert found & {"one", "two"} == {"one"}
    clock.now = 30.0
    after = models.current()
    assert after.registry_repo("two") is not None
    clock.now = 40.0
    assert models.current() is after
