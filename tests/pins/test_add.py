"""Adding pins to catalogs, and names in place of references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.errors import ConfigError, OfflineError, UnknownModelError, UsageError
from modelfetch.model.manifest import FileSpec, Manifest, ModelScopeRepo, PinOrigin
from modelfetch.model.parse_reference import parse_reference
from modelfetch.model.reference import OciReference, Reference, RepoReference
from modelfetch.pins.add import (
    Added,
    Target,
    add,
    all_pinned,
    ensure_pinned,
    pinned_line,
    pinned_names,
    target_of,
)
from modelfetch.pins.catalogs import check_name, page_text, pinned_as, user_catalog, write_pin
from modelfetch.pins.digests import StoreDigests
from modelfetch.pins.pin import PinRequest
from modelfetch.pins.session import PinSession, open_session
from modelfetch.pins.unpin import unpin
from modelfetch.pins.variants import Variant, VariantsError
from modelfetch.workspace import Workspace
from tests.pins.fakes import HF, FakeUpstream, hf_listing, plain, stated


class Machine:
    """A user and a project on a machine of their own, and a fake hub."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"
        self.work.mkdir()
        self.project = self.work / "modelfetch.toml"
        self.hub = FakeUpstream(hf_listing(stated("w"), plain("config.json")), {"config.json": b"{}"})

    @property
    def workspace(self) -> Workspace:
        environ = {
            "HOME": str(self.root),
            "MODELFETCH_CONFIG": str(self.root / "config" / "config.toml"),
            "MODELFETCH_CACHE_DIR": str(self.root / "cache"),
        }
        return Workspace.open(environ=environ, cwd=self.work)

    @property
    def session(self) -> PinSession:
        workspace = self.workspace
        return PinSession(workspace, self.upstream_for, StoreDigests(workspace.store, keep=False))

    def upstream_for(self, reference: Reference) -> FakeUpstream:
        return self.hub

    def add(self, choice: str | None = None, *, dry_run: bool = False, **more: object) -> Added:
        request = PinRequest((HF,), **more)  # type: ignore[arg-type]
        return add(self.session, request, target_of(self.workspace, choice), dry_run=dry_run)

    @property
    def user(self) -> Path:
        return user_catalog(self.workspace) / "repo.toml"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_pin_goes_to_the_users_catalog_and_is_found_by_name_and_reference(machine: Machine) -> None:
    (machine.root / "config").mkdir()
    added = machine.add()
    assert (added.path, added.is_written, added.is_listed) == (machine.user, True, False)
    assert machine.workspace.catalog.get("repo") == added.manifest
    assert pinned_as(machine.workspace, "org/Repo") == added.manifest
    assert pinned_names(machine.workspace, ["demo", "hf:org/Repo@main"]) == ["demo", "repo"]
    assert pinned_line(added).startswith("pinned hf:org/Repo as repo 0123456789ab (2 files, 9 B) in /")


def test_adding_again_changes_nothing_and_makes_no_request(machine: Machine) -> None:
    first = machine.add()
    before = machine.user.stat().st_mtime_ns, machine.user.stat().st_ino
    again = machine.add()
    assert (again.pin, again.is_written, again.path) == (None, False, first.path)
    assert machine.hub.resolved == 1
    assert (machine.user.stat().st_mtime_ns, machine.user.stat().st_ino) == before


def test_other_patterns_or_another_name_are_another_pin(machine: Machine) -> None:
    machine.add()
    with pytest.raises(UsageError) as caught:
        machine.add(include=("w*",), exclude=("c*",))
    assert "the name 'repo' is taken by repo of the user catalog" in caught.value.message
    again = "modelfetch add hf:org/Repo --include 'w*' --exclude 'c*' --name org-repo"
    assert caught.value.hint == f"Choose another one: `{again}`."
    assert machine.add(include=("w",), name="small").is_written
    assert pinned_names(machine.workspace, ["hf:org/Repo"]) == ["repo"]
    assert machine.add(name="twin").is_written
    with pytest.raises(UsageError, match="pinned several times: repo, twin"):
        pinned_names(machine.workspace, ["hf:org/Repo"])


def test_a_pin_of_two_hubs_is_found_by_both(machine: Machine) -> None:
    with pytest.raises(UnknownModelError):
        pinned_names(machine.workspace, ["ms:org/Repo"])
    both = machine.add().manifest
    path = user_catalog(machine.workspace)
    write_pin(replace(both, modelscope=ModelScopeRepo("org/Repo", "master")), path, replace=True)
    assert pinned_names(machine.workspace, ["ms:org/Repo", "hf:org/Repo"]) == ["repo", "repo"]
    write_pin(replace(both, name="own", upstream=PinOrigin("ms:org/Repo")), path)
    assert pinned_names(machine.workspace, ["ms:org/Repo", "hf:org/Repo"]) == ["own", "repo"]


def test_what_another_process_pinned_meanwhile_is_used(machine: Machine) -> None:
    late, later = machine.session, machine.session  # their catalogs are listed before the first one writes
    first = machine.add().manifest
    assert ensure_pinned(late, ["hf:org/Repo", "hf:org/Repo@main"]) == (["repo", "repo"], [])
    target = target_of(machine.workspace, None)
    again = add(later, PinRequest((HF,)), target)
    assert (again.manifest, again.pin, again.is_written) == (first, None, False)
    with pytest.raises(UsageError, match=r"repo\.toml exists already"):
        add(later, PinRequest((HF,), exclude=("w",)), target)


def test_a_reference_may_be_given_twice(machine: Machine) -> None:
    names, added = ensure_pinned(machine.session, ["org/Repo", "hf:org/Repo@main"])
    assert (names, len(added)) == (["repo", "repo"], 1)


def test_an_alias_with_a_slash_is_a_name(machine: Machine) -> None:
    alias = "onnx-community/whisper-base"
    assert all_pinned(machine.workspace, [alias])
    assert pinned_names(machine.workspace, [alias]) == [alias]
    assert ensure_pinned(machine.session, [alias]) == ([alias], [])
    assert machine.hub.resolved == 0


def test_another_revision_gets_a_name_of_its_own_or_moves_the_pin(machine: Machine) -> None:
    machine.add()
    with pytest.raises(UsageError) as caught:
        check_name(machine.workspace, "repo", PinRequest((RepoReference("hf", "org/Repo", "v1.0"),)))
    assert "--name repo-v1.0" in caught.value.hint
    assert "`modelfetch upgrade repo --revision v1.0`" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        check_name(machine.workspace, "repo", PinRequest((RepoReference("hf", "other/Repo", "v1.0"),)))
    assert "--name other-repo" in caught.value.hint
    with pytest.raises(UsageError, match="is taken by repo") as registry:
        check_name(machine.workspace, "repo", PinRequest((OciReference("ghcr.io", "other/repo", "v1"),)))
    assert "--name other-repo" in registry.value.hint
    assert "upgrade" not in caught.value.hint


@pytest.mark.parametrize(
    "reference",
    [
        RepoReference("hf", "org/Repo", "main", "model", "onnx/a.bin"),
        RepoReference("hf", "org/Repo", "feature/x", "dataset", "onnx"),
        RepoReference("ms", "org/Repo", "master", "model", "onnx"),
    ],
)
def test_the_folder_of_a_page_is_kept_in_a_proposal(machine: Machine, reference: RepoReference) -> None:
    assert parse_reference(page_text(reference)) == reference
    machine.add()
    with pytest.raises(UsageError) as caught:
        check_name(machine.workspace, "repo", PinRequest((reference,)))
    assert "upgrade" not in caught.value.hint


def test_a_reference_that_is_pinned_at_another_revision_is_told_apart(machine: Machine) -> None:
    machine.add()
    with pytest.raises(UnknownModelError) as caught:
        pinned_names(machine.workspace, ["hf:org/Repo@v2"])
    hint = "Pinned is repo (hf:org/Repo). `modelfetch add hf:org/Repo@v2` pins it."
    assert caught.value.hint == hint
    with pytest.raises(UnknownModelError) as caught:
        pinned_names(machine.workspace, ["hf:datasets/org/Repo"])
    assert "Pinned is" not in caught.value.hint


def test_a_built_in_name_is_taken(machine: Machine) -> None:
    machine.hub.listing = hf_listing(plain("config.json"), name="whisper-base")
    with pytest.raises(UsageError, match="taken by whisper-base of the built-in catalog"):
        machine.add()
    assert machine.hub.opened == []


def test_a_dry_run_writes_nothing(machine: Machine) -> None:
    machine.project.write_text("# mine\n")
    added = machine.add(dry_run=True)
    assert (added.is_written, added.is_listed) == (True, True)
    assert added.path == machine.work / "models" / "repo.toml"
    assert not added.path.exists()
    assert machine.project.read_text() == "# mine\n"
    assert not (machine.root / "cache").exists()


def test_in_a_project_its_catalog_gets_the_pin_and_its_file_the_name(machine: Machine) -> None:
    machine.project.write_text('# mine\nmodels = ["demo"]  # first\n')
    added = machine.add()
    assert added.path == machine.work / "models" / "repo.toml"
    assert added.is_listed
    assert machine.project.read_text() == 'catalog = ["models"]\n# mine\nmodels = ["demo", "repo"]  # first\n'
    workspace = machine.workspace
    assert workspace.loaded.models == ("demo", "repo")
    assert workspace.catalog.entry("repo").origin == "project"
    again = machine.add()
    assert (again.is_written, again.is_listed) == (False, False)


def test_a_catalog_that_the_project_has_is_used(machine: Machine) -> None:
    (machine.work / "pins").mkdir()
    (machine.work / "one.toml").write_text("")
    machine.project.write_text('catalog = ["one.toml", "pins"]\n')
    assert machine.add().path == machine.work / "pins" / "repo.toml"
    assert machine.project.read_text() == 'models = ["repo"]\ncatalog = ["one.toml", "pins"]\n'


def test_a_pin_of_the_user_is_copied_into_a_project_without_a_request(machine: Machine) -> None:
    machine.add("user")
    machine.project.write_text("")
    added = machine.add()
    assert (added.pin, added.is_written, added.is_listed) == (None, True, True)
    assert machine.hub.resolved == 1
    assert added.path.read_text() == machine.user.read_text()


def test_the_users_catalog_can_be_chosen_in_a_project(machine: Machine) -> None:
    machine.project.write_text("")
    assert machine.add("user").path == machine.user
    assert machine.project.read_text() == ""


def test_a_directory_can_be_chosen(machine: Machine) -> None:
    directory = machine.root / "elsewhere"
    assert machine.add(str(directory)).path == directory / "repo.toml"
    again = machine.add(str(directory))
    assert (again.path, again.is_written) == (directory / "repo.toml", False)
    machine.hub.listing = hf_listing(stated("other"))
    with pytest.raises(UsageError, match="exists already"):
        machine.add(str(directory))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("project", "there is no modelfetch.toml"),
        (" ", "is empty"),
        (__file__, "is not a directory"),
        ("x.toml", "is not a directory"),
    ],
)
def test_wrong_catalogs_are_refused(machine: Machine, choice: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        machine.add(choice)


def test_ensure_pins_what_is_new_for_the_user_and_nothing_twice(machine: Machine) -> None:
    machine.project.write_text("")
    assert not all_pinned(machine.workspace, ["hf:org/Repo"])
    names, added = ensure_pinned(machine.session, ["demo", "hf:org/Repo"])
    assert (names, [each.path for each in added]) == (["demo", "repo"], [machine.user])
    assert machine.project.read_text() == ""
    assert all_pinned(machine.workspace, ["demo", "hf:org/Repo"])
    assert ensure_pinned(machine.session, ["hf:org/Repo"]) == (["repo"], [])
    assert machine.hub.resolved == 1


def test_a_variant_that_was_chosen_is_found_again(machine: Machine) -> None:
    machine.hub.listing = hf_listing(stated("m-Q4_0.gguf"), stated("m-Q8_0.gguf"), name="M-GGUF")
    with pytest.raises(VariantsError):
        ensure_pinned(machine.session, ["hf:org/Repo"])

    def first(variants: Sequence[Variant]) -> Variant:
        return variants[0]

    names, added = ensure_pinned(machine.session, ["hf:org/Repo"], choose=first)
    assert names == ["m-q4_0"]
    assert len(added) == 1
    assert pinned_names(machine.workspace, ["hf:org/Repo"]) == ["m-q4_0"]
    target = target_of(machine.workspace, None)
    again = add(machine.session, PinRequest((HF,)), target, choose=first)
    assert (again.manifest.name, again.pin, again.is_written) == ("m-q4_0", None, False)


def test_several_partial_pins_of_a_reference_must_be_named(machine: Machine) -> None:
    machine.add(include=("w",), name="one")
    workspace = machine.workspace
    assert pinned_names(workspace, ["hf:org/Repo"]) == ["one"]
    assert workspace.notices.take() == ["hf:org/Repo is one, pinned with --include 'w'."]
    machine.add(include=("c*",), name="two")
    with pytest.raises(UsageError, match="pinned several times: one, two"):
        pinned_names(machine.workspace, ["hf:org/Repo"])
    machine.add(name="all")
    assert pinned_names(machine.workspace, ["hf:org/Repo"]) == ["all"]


def test_the_pin_of_a_project_is_used_before_the_users_and_said_to_be(machine: Machine) -> None:
    machine.add("user")
    machine.project.write_text("")
    machine.add(name="theirs")
    workspace = machine.workspace
    assert pinned_names(workspace, ["hf:org/Repo"]) == ["theirs"]
    [notice] = workspace.notices.take()
    assert notice.startswith("hf:org/Repo is theirs, as this project pins it (/")


def test_a_project_cannot_have_files_written_outside_of_it(machine: Machine) -> None:
    (machine.root / "outside").mkdir()
    (machine.work / "link").symlink_to(machine.root / "outside")
    machine.project.write_text('catalog = ["../outside", "link"]\n')
    assert machine.add().path == machine.work / "models" / "repo.toml"
    assert list((machine.root / "outside").iterdir()) == []
    assert machine.project.read_text().startswith(
        'models = ["repo"]\ncatalog = ["../outside", "link", "models"]'
    )


def test_a_reference_that_is_not_pinned_is_unknown(machine: Machine) -> None:
    with pytest.raises(UnknownModelError) as caught:
        pinned_names(machine.workspace, ["hf:org/Repo"])
    assert caught.value.hint == "`modelfetch add hf:org/Repo` pins it."


def test_a_broken_manifest_hides_no_other(machine: Machine) -> None:
    machine.add()
    machine.user.with_name("broken.toml").write_text("# hf:org/Repo\n[[")
    assert pinned_names(machine.workspace, ["hf:org/Repo"]) == ["repo"]


def test_offline_nothing_is_resolved(machine: Machine) -> None:
    with open_session(machine.workspace, offline=True) as session, pytest.raises(OfflineError):
        ensure_pinned(session, ["hf:org/Repo"])


def test_unpinning_undoes_adding(machine: Machine) -> None:
    machine.project.write_text('catalog = ["models"]\nmodels = ["demo"]  # first\n')
    (machine.work / "models").mkdir()
    before = machine.project.read_text()
    path = machine.add().path
    assert unpin(machine.workspace, "repo", dry_run=True).paths == (path, machine.project)
    assert path.exists()
    assert unpin(machine.workspace, "repo", dry_run=False).paths == (path, machine.project)
    assert not path.exists()
    assert machine.project.read_text() == before
    assert unpin(machine.workspace, "demo", dry_run=False).paths == (machine.project,)
    with pytest.raises(UsageError, match="cannot be unpinned: it is in the built-in catalog"):
        unpin(machine.workspace, "whisper-base", dry_run=False)


def test_unpinning_takes_what_was_published_beside_the_manifest(machine: Machine) -> None:
    """Else a model that gets the same name later would take it for its own."""
    path = machine.add().path
    published = (path.with_name("repo.skeleton.car"), path.with_name("repo.torrent"))
    kept = path.with_name("repo-2.torrent")
    for each in (*published, kept):
        each.write_bytes(b"published")
    assert unpin(machine.workspace, "repo", dry_run=True).paths == (path, *published)
    assert all(each.exists() for each in published)
    assert unpin(machine.workspace, "repo", dry_run=False).paths == (path, *published)
    assert not any(each.exists() for each in published)
    assert kept.exists()


def test_a_project_does_not_choose_which_file_of_the_user_is_deleted(machine: Machine) -> None:
    own = machine.root / "important.toml"
    own.write_text("[anything]\n")
    machine.project.write_text('catalog = ["../important.toml"]\n')
    with pytest.raises(UsageError, match="is outside of the project"):
        unpin(machine.workspace, "important", dry_run=False)
    assert own.exists()


def test_a_manifest_is_never_replaced_but_by_upgrade(tmp_path: Path) -> None:
    manifest = Manifest("m", "1", (FileSpec("a", 1, "00" * 32),))
    path = write_pin(manifest, tmp_path / "new")
    with pytest.raises(UsageError, match="exists already"):
        write_pin(manifest, tmp_path / "new")
    assert write_pin(replace(manifest, version="2"), tmp_path / "new", replace=True) == path
    assert 'version = "2"' in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == ["m.toml"]


@pytest.mark.slow
def test_a_manifest_that_would_be_too_large_is_not_written(tmp_path: Path) -> None:
    long = "/".join(["d" * 200] * 15)
    files = tuple(FileSpec(f"{long}/{number}", 1, f"{number:064x}") for number in range(1_400))
    with pytest.raises(UsageError, match="4,194,304 are allowed"):
        write_pin(Manifest("m", "1", files), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_target_outside_of_a_project_is_the_users(machine: Machine) -> None:
    assert target_of(machine.workspace, None) == Target("user", user_catalog(machine.workspace))


def test_an_alias_of_a_built_in_model_is_no_reference(machine: Machine) -> None:
    """Even if it looks like one: built-in models can be named by their repositories."""
    alias = "onnx-community/whisper-base"
    assert pinned_names(machine.workspace, [alias]) == [alias]
    assert all_pinned(machine.workspace, [alias])
    assert ensure_pinned(machine.session, [alias]) == ([alias], [])


def test_a_pin_that_another_process_wrote_meanwhile_is_as_good(machine: Machine) -> None:
    session = machine.session
    session.workspace.catalog.names()
    machine.add()
    target = Target("user", machine.user.parent)
    late = add(session, PinRequest((HF,)), target)  # its catalogs were listed before
    assert (late.pin, late.path, late.is_written) == (None, machine.user, False)


@pytest.mark.parametrize("catalog", ["../elsewhere", "link"])
def test_a_project_does_not_choose_where_else_files_are_created(machine: Machine, catalog: str) -> None:
    elsewhere = machine.root / "elsewhere"
    elsewhere.mkdir()
    (machine.work / "link").symlink_to(elsewhere)
    machine.project.write_text(f'catalog = ["{catalog}"]\n')
    assert machine.add().path == machine.work / "models" / "repo.toml"
    assert list(elsewhere.iterdir()) == []
    assert machine.add(str(elsewhere), name="other").path.parent == elsewhere


def test_a_project_file_that_is_a_link_out_of_it_stops_before_anything_is_written(machine: Machine) -> None:
    own = machine.root / "own.toml"
    own.write_text("")
    machine.project.symlink_to(own)
    with pytest.raises(ConfigError, match="link out of the project"):
        machine.add()
    assert not (machine.work / "models").exists()
    assert machine.hub.resolved == 0


def test_what_a_project_claims_to_have_pinned_gets_into_no_catalog_of_the_user(machine: Machine) -> None:
    machine.project.write_text('catalog = ["models"]\n')
    (machine.work / "models").mkdir()
    claimed = Manifest("repo", "1", (FileSpec("w", 4, "00" * 32),), upstream=PinOrigin("hf:org/Repo"))
    write_pin(claimed, machine.work / "models")
    assert machine.add().is_written is False
    with pytest.raises(UsageError, match="is taken by repo of the project catalog"):
        machine.add("user")
    added = machine.add("user", name="mine")
    assert added.manifest.files != claimed.files
    assert machine.add(str(machine.root / "other"), name="other").manifest.files == added.manifest.files
