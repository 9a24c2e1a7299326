"""A model is present if its receipt agrees with the files; a damaged receipt counts as absent."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfetch.errors import StoreError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.store import Store
from modelfetch.store.receipt import from_json
from tests.store.material import WHEN, digest, ensure, model, noise
from tests.store.test_chunk_maps import built_of

CONTENTS = {"config.json": noise(300), "onnx/model.onnx": noise(5000)}
MANIFEST = model(CONTENTS)
PATHS = list(CONTENTS)


def receipt_path(store: Store) -> Path:
    return store.root / "models" / "tiny" / "v1.json"


def change(store: Store, **facts: Any) -> None:
    """Change top-level facts of the receipt on disk."""
    path = receipt_path(store)
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_a_receipt_is_read_back_as_it_was_written(store: Store) -> None:
    ensure(store, CONTENTS)
    receipt = store.receipt(MANIFEST)
    assert receipt is not None
    assert (receipt.name, receipt.version, receipt.identity) == ("tiny", "v1", MANIFEST.identity)
    assert receipt.size == MANIFEST.size
    assert [(file.path, file.sha256, file.source) for file in receipt.files] == [
        (path, digest(content), "mirror a") for path, content in CONTENTS.items()
    ]
    assert {file.verified_at for file in receipt.files} == {WHEN}
    assert list(store.receipts()) == [receipt]


def test_its_form_on_disk_is_fixed(store: Store) -> None:
    """Other programs and the warm answer rely on it."""
    ensure(store, CONTENTS)
    found = os.lstat(store.directory(MANIFEST) / "config.json")
    facts = json.loads(receipt_path(store).read_text())
    assert list(facts) == ["format", "name", "version", "identity", "files", "consulted"]
    assert facts["format"] == 1
    assert facts["files"][0] == {
        "path": "config.json",
        "sha256": digest(CONTENTS["config.json"]),
        "size": 300,
        "mtime_ns": found.st_mtime_ns,
        "inode": found.st_ino,
        "verified_at": "2026-11-20T06:00:00Z",
        "source": "mirror a",
    }


LARGE = {"small.bin": noise(300), "large.bin": noise((1 << 20) + 5)}


def test_a_file_with_a_chunk_map_has_its_cid_in_the_receipt(root: Path) -> None:
    store = Store(root, chunk_maps="always")
    manifest = ensure(store, LARGE)
    receipt = Store(root).receipt(manifest)
    assert receipt is not None
    cid = built_of(LARGE["large.bin"]).root.text
    assert [file.cid for file in receipt.files] == ["", cid]
    assert "cid" not in json.loads(receipt_path(store).read_text())["files"][0]
    assert store.cids(manifest) == {"small.bin": built_of(LARGE["small.bin"]).root.text, "large.bin": cid}
    store.chunk_maps.remove(digest(LARGE["large.bin"]))
    assert Store(root).cids(manifest)["large.bin"] == cid


def test_without_chunk_maps_only_the_cids_of_small_files_are_known(store: Store) -> None:
    manifest = ensure(store, LARGE)
    receipt = store.receipt(manifest)
    assert receipt is not None
    assert [file.cid for file in receipt.files] == ["", ""]
    assert list(store.cids(manifest)) == ["small.bin"]


def test_a_map_that_was_made_later_gives_the_cid_too(store: Store) -> None:
    manifest = ensure(store, LARGE)
    built = built_of(LARGE["large.bin"])
    store.chunk_maps.write(digest(LARGE["large.bin"]), built)
    assert Store(store.root).cids(manifest)["large.bin"] == built.root.text
    ensure(store, LARGE, name="other")  # the blob is there already
    receipt = store.receipt(model(LARGE, "other"))
    assert receipt is not None
    assert receipt.files[1].cid == built.root.text


@pytest.mark.quick(2)
@pytest.mark.parametrize("cid", [7, None, "Qm" + "a" * 44, "b" + "a" * 200, "b\x1b[2J", "b"])
def test_a_receipt_with_another_cid_is_damaged(root: Path, cid: object) -> None:
    store = Store(root, chunk_maps="always")
    manifest = ensure(store, LARGE)
    files = json.loads(receipt_path(store).read_text())["files"]
    files[1]["cid"] = cid
    change(store, files=files)
    assert Store(root).receipt(manifest) is None


def test_what_was_consulted_is_remembered_also_when_it_was_absent(store: Store, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("x = 1")
    ensure(store, CONTENTS)
    looks = [store.consult(config), store.consult(tmp_path / "absent.toml")]
    store.write_receipt(MANIFEST, {}, {}, looks)
    receipt = store.receipt(MANIFEST)
    assert receipt is not None
    assert list(receipt.consulted) == looks
    assert json.loads(receipt_path(store).read_text())["consulted"] == [
        {
            "path": str(config),
            "size": 5,
            "mtime_ns": config.stat().st_mtime_ns,
            "inode": config.stat().st_ino,
        },
        {"path": str(tmp_path / "absent.toml"), "absent": True},
    ]


def test_a_linked_config_counts_as_what_it_leads_to(store: Store, tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("x = 1")
    (tmp_path / "link.toml").symlink_to(tmp_path / "real.toml")
    stamp = store.consult(tmp_path / "link.toml").stamp
    assert stamp is not None
    assert stamp.inode == (tmp_path / "real.toml").stat().st_ino


def test_nothing_is_kept_without_a_receipt(store: Store) -> None:
    assert store.receipt(MANIFEST) is None
    assert store.kept(MANIFEST, None) == dict.fromkeys(PATHS, False)
    assert not store.root.exists()


def test_everything_is_kept_after_a_run(store: Store) -> None:
    ensure(store, CONTENTS)
    assert store.kept(MANIFEST, store.receipt(MANIFEST)) == dict.fromkeys(PATHS, True)


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _copy(path: Path) -> None:
    content, found = path.read_bytes(), path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(0, found.st_mtime_ns))


def _grow(path: Path) -> None:
    path.chmod(0o644)
    with path.open("ab") as file:
        file.write(b"x")


def _link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


@pytest.mark.parametrize("harm", [Path.unlink, _touch, _copy, _grow, _link])
def test_a_file_that_looks_different_is_not_kept(store: Store, harm: Any) -> None:
    ensure(store, CONTENTS)
    harm(store.directory(MANIFEST) / "config.json")
    kept = store.kept(MANIFEST, store.receipt(MANIFEST))
    assert kept == {"config.json": False, "onnx/model.onnx": True}


def test_a_receipt_of_other_content_is_none(store: Store) -> None:
    ensure(store, CONTENTS)
    assert store.receipt(model({**CONTENTS, "config.json": noise(300, seed=3)})) is None
    assert store.receipt(model(CONTENTS, version="v2")) is None


def test_sources_do_not_count_for_identity(store: Store) -> None:
    ensure(store, CONTENTS)
    reordered = model(dict(reversed(CONTENTS.items())))
    assert store.receipt(reordered) is not None


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b"\0" * 500, b"[" * 100_000, b'{"format": 1}']
)
def test_a_damaged_receipt_is_none_and_is_replaced(store: Store, content: bytes) -> None:
    ensure(store, CONTENTS)
    receipt_path(store).write_bytes(content)
    assert store.receipt(MANIFEST) is None
    assert list(store.receipts()) == []
    ensure(store, CONTENTS)
    assert store.receipt(MANIFEST) is not None


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    "facts",
    [
        {"format": 2},
        {"format": True},
        {"name": "other"},
        {"version": "v2"},
        {"identity": "0" * 64},
        {"files": []},
        {"files": [{"path": "../../x"}]},
        {"consulted": [{}]},
        {"consulted": {}},
    ],
    ids=str,
)
def test_a_receipt_that_contradicts_itself_or_its_place_is_none(store: Store, facts: dict[str, Any]) -> None:
    ensure(store, CONTENTS)
    change(store, **facts)
    assert store.receipt(MANIFEST) is None
    assert list(store.receipts()) == []


@pytest.mark.quick(12)
@pytest.mark.parametrize("key", ["path", "sha256", "size", "mtime_ns", "inode", "verified_at", "source"])
@pytest.mark.parametrize("value", [None, True, 1.5, [], "\ud800", "2026-11-20T06:00:00"])
def test_a_wrong_type_anywhere_in_a_file_is_damage(store: Store, key: str, value: object) -> None:
    ensure(store, CONTENTS)
    files = json.loads(receipt_path(store).read_text())["files"]
    files[0][key] = value
    change(store, files=files)
    receipt = store.receipt(MANIFEST)
    assert receipt is None or key == "source"


@pytest.mark.parametrize("size", [-1, 2**63, 10**400], ids=["negative", "no offset", "no float"])
def test_a_size_that_no_file_has_is_damage(store: Store, size: int) -> None:
    """Sizes are added up, divided and shown; the identity holds for any."""
    ensure(store, CONTENTS)
    files = json.loads(receipt_path(store).read_text())["files"]
    files[0]["size"] = size
    listed = tuple(FileSpec(file["path"], file["size"], file["sha256"]) for file in files)
    change(store, files=files, identity=Manifest("tiny", "v1", listed).identity)
    assert list(store.receipts()) == []


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_some_zone_cannot_say_is_damage(store: Store, at: str) -> None:
    ensure(store, CONTENTS)
    files = json.loads(receipt_path(store).read_text())["files"]
    files[0]["verified_at"] = at
    change(store, files=files)
    assert store.receipt(MANIFEST) is None
    ensure(store, CONTENTS)
    assert store.receipt(MANIFEST) is not None


def test_an_unknown_format_stays_until_a_run_is_complete(store: Store) -> None:
    ensure(store, CONTENTS)
    change(store, format=99, news="from the future")
    before = receipt_path(store).read_bytes()
    assert store.receipt(MANIFEST) is None
    store.sweep()
    assert receipt_path(store).read_bytes() == before
    ensure(store, CONTENTS)
    assert json.loads(receipt_path(store).read_text())["format"] == 1


@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["format", "files", "path", "name"]), inner)
        ),
    )
)
def test_no_json_breaks_the_reader(facts: object) -> None:
    assert from_json(json.dumps(facts).encode()) is None


def test_a_later_run_states_only_what_it_verified(store: Store) -> None:
    ensure(store, CONTENTS)
    later = WHEN + timedelta(days=1)
    store.write_receipt(MANIFEST, {"config.json": "local disk"}, {"config.json": later})
    receipt = store.receipt(MANIFEST)
    assert receipt is not None
    assert [(file.source, file.verified_at) for file in receipt.files] == [
        ("local disk", later),
        ("mirror a", WHEN),
    ]


def test_times_are_written_in_utc(store: Store) -> None:
    ensure(store, CONTENTS)
    here = datetime(2026, 11, 20, 8, 0).astimezone()
    store.write_receipt(MANIFEST, {"config.json": "x y"}, {"config.json": here})
    receipt = store.receipt(MANIFEST)
    assert receipt is not None
    assert receipt.files[0].verified_at == here
    assert receipt.files[0].verified_at.tzinfo == UTC


def test_no_receipt_is_written_for_a_file_that_is_not_there(store: Store) -> None:
    ensure(store, CONTENTS)
    (store.directory(MANIFEST) / "config.json").unlink()
    with pytest.raises(StoreError, match=r"config\.json was changed"):
        store.write_receipt(MANIFEST, dict.fromkeys(PATHS, "a b"), dict.fromkeys(PATHS, WHEN))


def test_a_kept_file_that_changed_meanwhile_is_not_vouched_for(store: Store) -> None:
    ensure(store, CONTENTS)
    _touch(store.directory(MANIFEST) / "config.json")
    with pytest.raises(StoreError, match=r"config\.json was changed"):
        store.write_receipt(MANIFEST, {}, {})


def test_a_receipt_that_goes_during_a_run_ends_it_with_a_message(store: Store) -> None:
    ensure(store, CONTENTS)
    receipt_path(store).unlink()
    with pytest.raises(StoreError, match="the receipt of tiny was removed by another process"):
        store.write_receipt(MANIFEST, {}, {})


def test_a_receipt_says_enough_to_verify_the_model(store: Store) -> None:
    ensure(store, CONTENTS)
    (receipt,) = store.receipts()
    assert receipt.manifest() == MANIFEST


def test_copies_of_a_digest_are_found_in_every_model(store: Store) -> None:
    shared = noise(100, seed=8)
    ensure(store, {"a.bin": shared}, name="one")
    ensure(store, {"deep/b.bin": shared, "c.bin": noise(5)}, name="two")
    assert store.placed()[digest(shared)] == [
        store.root / "models" / "one" / "v1" / "a.bin",
        store.root / "models" / "two" / "v1" / "deep" / "b.bin",
    ]


def test_stray_names_among_the_models_are_passed_over(store: Store) -> None:
    ensure(store, CONTENTS)
    models = store.root / "models"
    (models / "NOT A MODEL").mkdir()
    (models / "stray.json").write_text("{}")
    (models / "tiny" / "dir.json").mkdir()
    assert len(list(store.receipts())) == 1
