"""A pin moves on request, in the file it lies in, and nothing that a person wrote is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.errors import StoreError, UnavailableError, UnknownModelError, UsageError
from modelfetch.model.manifest import ModelScopeRepo, PinOrigin
from modelfetch.model.parse import load_manifest
from modelfetch.model.reference import (
    DiskReference,
    GithubReference,
    IpfsReference,
    OciReference,
    OllamaReference,
    Reference,
    RepoReference,
)
from modelfetch.model.write import manifest_toml
from modelfetch.pins.rewrite import replace_unchanged, rewritten
from modelfetch.pins.upgrade import (
    Upgrade,
    apply,
    at_revision,
    carried_over,
    newest_other,
    prepare,
    version,
)
from modelfetch.upstreams.base import Listing
from modelfetch.workspace import Workspace
from tests.pins.moving import NEW, OLD, Hashed, Hub, listed, parse, pin, written

FILES = (listed("config.json", b"{ }", is_stated=False), listed("model.bin", b"better"))


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.has("hf:org/m@main", NEW, *FILES)
    return hub


def opened(home: Path, **environ: str) -> Workspace:
    environ = {
        "HOME": str(home),
        "MODELFETCH_CACHE_DIR": str(home / "cache"),
        "MODELFETCH_CONFIG": str(home / "config.toml"),
        **environ,
    }
    return Workspace.open(environ=environ, cwd=home)


def catalog(home: Path) -> Path:
    return home / "catalog"


def prepared(home: Path, hub: Hub, revision: str | None = None) -> Upgrade:
    return prepare(opened(home), "m", hub.upstream_for, Hashed(), parse, revision)


def test_an_upgrade_moves_the_pin_and_shows_what_changes(tmp_path: Path, hub: Hub) -> None:
    path = written(catalog(tmp_path), pin())
    change = prepared(tmp_path, hub)
    assert (change.old.version, change.new.version, change.path) == (OLD[:12], NEW[:12], path)
    assert [(file.path, file.kind) for file in change.comparison.changes] == [
        ("config.json", "changed"),
        ("model.bin", "changed"),
    ]
    assert load_manifest(path) == pin(), "nothing is written before it is applied"
    assert apply(change) == []
    assert load_manifest(path) == change.new
    assert change.new.huggingface is not None
    assert change.new.huggingface.revision == NEW
    assert change.new.upstream is not None
    assert change.new.upstream.ref == "hf:org/m@main"


def test_the_same_files_at_another_revision_change_nothing(tmp_path: Path) -> None:
    hub = Hub()
    hub.has("hf:org/m@main", NEW, listed("config.json", b"{}"), listed("model.bin", b"weights"))
    written(catalog(tmp_path), pin())
    assert prepared(tmp_path, hub).is_empty


def test_a_named_revision_is_followed_from_then_on(tmp_path: Path, hub: Hub) -> None:
    hub.has("hf:org/m@v2", NEW, *FILES)
    written(catalog(tmp_path), pin())
    change = prepared(tmp_path, hub, "v2")
    assert change.new.upstream is not None
    assert change.new.upstream.ref == "hf:org/m@v2"


def test_what_a_person_wrote_is_kept(tmp_path: Path, hub: Hub) -> None:
    hub.has("hf:org/m@main", NEW, *FILES, license="GPL-3.0")
    mine = replace(pin(), title="My title", mirrors=("https://m.example/{path}",), task="text")
    written(catalog(tmp_path), mine)
    change = prepared(tmp_path, hub)
    assert (change.new.title, change.new.task) == ("My title", "text")
    assert change.new.mirrors == mine.mirrors
    assert change.new.license == "MIT"
    assert any("GPL-3.0" in notice for notice in change.notices)


def test_the_cid_of_a_directory_goes_with_its_bytes() -> None:
    old = replace(pin(), ipfs_cid="bafy")
    assert carried_over(old, pin(files={"a": b"1"})).ipfs_cid is None
    assert carried_over(old, pin()).ipfs_cid == "bafy"


def test_a_second_hub_that_lags_behind_is_dropped_with_a_notice(tmp_path: Path, hub: Hub) -> None:
    both = replace(pin(), modelscope=ModelScopeRepo("org/m", OLD))
    written(catalog(tmp_path), both)
    change = prepared(tmp_path, hub)
    assert change.new.modelscope is None
    assert any("ms:org/m is no longer a source of m" in notice for notice in change.notices)


def test_a_second_hub_that_does_not_answer_is_not_dropped(tmp_path: Path, hub: Hub) -> None:
    hub.answers["ms:org/m"] = UnavailableError("modelscope.cn: no answer")
    written(catalog(tmp_path), replace(pin(), modelscope=ModelScopeRepo("org/m", OLD)))
    with pytest.raises(UnavailableError, match="no answer"):
        prepared(tmp_path, hub)


def test_another_name_of_the_same_revision_is_followed(tmp_path: Path) -> None:
    hub = Hub()
    hub.has("hf:org/m@v1", OLD, listed("config.json", b"{}"), listed("model.bin", b"weights"))
    path = written(catalog(tmp_path), pin())
    change = prepared(tmp_path, hub, "v1")
    assert not change.is_empty
    apply(change)
    assert load_manifest(path).upstream == change.new.upstream
    assert prepared(tmp_path, hub).is_empty


def test_the_notice_about_a_second_hub_names_what_differs(tmp_path: Path, hub: Hub) -> None:
    written(catalog(tmp_path), replace(pin(), modelscope=ModelScopeRepo("org/m", OLD)))
    hub.has("ms:org/m", OLD, listed("model.bin", b"worse!"))
    there = hub.answers["ms:org/m"]
    assert isinstance(there, Listing)
    hub.answers["ms:org/m"] = replace(there, huggingface=None, modelscope=ModelScopeRepo("org/m", OLD))
    [notice] = [line for line in prepared(tmp_path, hub).notices if "no longer" in line]
    assert "do not agree on 1 file: 'model.bin': hf:org/m@main has SHA-256 " in notice


@pytest.mark.parametrize("origin", ["built-in", "environment"])
def test_other_catalogs_are_not_changed(tmp_path: Path, hub: Hub, origin: str) -> None:
    elsewhere = written(tmp_path / "shared", pin())
    workspace = opened(tmp_path, MODELFETCH_CATALOG=str(elsewhere.parent))
    name = "m" if origin == "environment" else "whisper-base"
    with pytest.raises(UsageError) as refused:
        prepare(workspace, name, hub.upstream_for, Hashed(), parse)
    assert "modelfetch add hf:" in refused.value.hint
    assert hub.asked == []


def test_a_manifest_written_by_hand_is_refused(tmp_path: Path, hub: Hub) -> None:
    written(catalog(tmp_path), replace(pin(), upstream=None))
    with pytest.raises(UsageError, match="names no upstream"):
        prepared(tmp_path, hub)


def test_comments_and_order_of_an_edited_file_stay(tmp_path: Path) -> None:
    path = written(catalog(tmp_path), pin())
    text = "# reviewed by Ada\n" + path.read_text()
    text = text.replace("[upstream]", "# why this one: it is small\n[upstream]")
    text = text.replace('license = "MIT"', 'license = "MIT"  # asked the author')
    text = text.replace("[[files]]", "# the settings\n[[files]]", 1)
    contents = {"config.json": b"{}", "model.bin": b"better", "more.bin": b"new"}
    new = replace(pin(files=contents), version="bbbbbbbbbbbb")
    after, notices = rewritten(path, text.encode(), new)
    assert load_manifest(path, after) == new
    for comment in ("# reviewed by Ada\n", "# why this one", "# asked the author", "# the settings\n"):
        assert comment in after.decode()
    assert notices == []


def test_comments_of_files_that_are_gone_are_reported_as_lost(tmp_path: Path) -> None:
    path = written(catalog(tmp_path), pin())
    content = path.read_text().replace("[[files]]", "[[files]]\n# the settings", 1).encode()
    after, notices = rewritten(path, content, pin(files={"model.bin": b"x"}))
    assert load_manifest(path, after) == pin(files={"model.bin": b"x"})
    assert [notice for notice in notices if "were not kept" in notice]


def test_a_file_that_was_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, pin())
    with pytest.raises(UsageError, match="changed meanwhile"):
        replace_unchanged(path, b"as it was", b"new")
    assert load_manifest(path) == pin()
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.toml"]


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    target = written(tmp_path / "real", pin())
    target.chmod(0o640)
    link = tmp_path / "m.toml"
    link.symlink_to(target)
    replace_unchanged(link, target.read_bytes(), b"new")
    assert (link.is_symlink(), target.read_bytes(), target.stat().st_mode & 0o777) == (True, b"new", 0o640)


def test_a_disk_that_refuses_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        replace_unchanged(tmp_path / "absent" / "m.toml", b"", b"new")


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (RepoReference("hf", "org/m", "main"), "hf:org/m@v2"),
        (GithubReference("o/r", "v1", "*.bin"), "gh:o/r@v2:*.bin"),
        (OciReference("r.example", "m", tag="v1"), "oci:r.example/m:v2"),
        (OciReference("r.example", "m", digest="sha256:" + "0" * 64), "oci:r.example/m:v2"),
        (OllamaReference("registry.ollama.ai", "library", "m", "v1"), "ollama:m:v2"),
    ],
)
def test_a_reference_at_another_revision(reference: Reference, text: str) -> None:
    assert at_revision(reference, "v2").text == text


def test_a_reference_without_revisions_is_refused() -> None:
    with pytest.raises(UsageError, match="has no revisions"):
        at_revision(IpfsReference("bafy"), "v2")


@pytest.mark.parametrize("ref", ["/secret.key", "/work/inside", "~"])
def test_a_project_does_not_choose_which_files_of_the_user_are_read(
    tmp_path: Path, hub: Hub, ref: str
) -> None:
    secret = tmp_path / "secret.key"
    secret.write_bytes(b"private")
    work = tmp_path / "work"
    (work / "models").mkdir(parents=True)
    (work / "modelfetch.toml").write_text('catalog = ["models"]\n')
    (work / "inside").symlink_to(secret)
    upstream = PinOrigin(ref if ref == "~" else f"{tmp_path}{ref}")
    written(work / "models", replace(pin(), upstream=upstream, huggingface=None))
    environ = {"HOME": str(tmp_path), "MODELFETCH_CONFIG": str(tmp_path / "config" / "config.toml")}
    workspace = Workspace.open(environ=environ, cwd=work)
    with pytest.raises(UsageError, match="is outside of it"):
        prepare(workspace, "m", hub.upstream_for, Hashed(), DiskReference)


def test_other_versions_come_from_the_cache(tmp_path: Path) -> None:
    written(catalog(tmp_path), pin())
    workspace = opened(tmp_path)
    with pytest.raises(UnknownModelError, match="no other version"):
        newest_other(workspace, pin())
    with pytest.raises(UnknownModelError, match="has no version 'nope' here"):
        version(workspace, pin(), "nope")
    assert version(workspace, pin(), OLD[:12]) == pin()


def test_the_text_of_add_is_replaced_whole(tmp_path: Path) -> None:
    path = written(tmp_path, pin())
    new = pin(files={"model.bin": b"x"})
    assert rewritten(path, path.read_bytes(), new) == (manifest_toml(new).encode(), [])
