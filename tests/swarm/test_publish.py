"""``swarm publish``: the torrent of a model, beside its manifest; and how it is found again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfetch.catalog.lookup import Catalog
from modelfetch.model.manifest import FileSpec, Manifest, SwarmTorrent
from modelfetch.model.parse import load_manifest
from modelfetch.swarm.metainfo import Metainfo, parse, parse_info
from modelfetch.swarm.model_hashes import hash_model
from modelfetch.swarm.torrent_files import check_fit, read_torrent
from tests.e2e.command import InProcess, assert_fails
from tests.publish.material import BIG, FILES, blob_path, manifest, manifest_path, place
from tests.swarm.nodes import metainfo_of

TRACKERS = ("udp://t.example:6969", "https://t.example/announce")


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    """A machine that has the model tiny."""
    cli = InProcess(tmp_path / "machine")
    place(cli)
    return cli


def torrent_path(cli: InProcess) -> Path:
    return manifest_path(cli).with_name("tiny.torrent")


def expected(cli: InProcess) -> Metainfo:
    return metainfo_of(FILES, f"tiny-{manifest(cli).version}")


@pytest.mark.slow
def test_the_torrent_and_the_infohash_lie_beside_each_other(cli: InProcess) -> None:
    path = manifest_path(cli)
    path.write_text("# mine\n" + path.read_text("utf-8"), "utf-8")
    result = cli("swarm", "publish", "tiny")
    assert result.code == 0, result.err
    found = expected(cli)
    assert result.lines == [f"magnet:?xt=urn:btmh:1220{found.infohash}&dn=tiny-{manifest(cli).version}"]
    assert result.stderr_lines("wrote", str(torrent_path(cli)))
    assert result.stderr_lines(f"wrote the infohash {found.infohash} into {path}")
    assert torrent_path(cli).read_bytes() == found.encode()
    assert manifest(cli).swarm == SwarmTorrent(found.infohash)
    assert path.read_text("utf-8").startswith("# mine\n")
    before = path.stat().st_mtime_ns, torrent_path(cli).stat().st_mtime_ns
    again = cli("swarm", "publish", "tiny")
    assert again.stderr_lines("already there:")
    assert again.stderr_lines("is already in")
    assert (path.stat().st_mtime_ns, torrent_path(cli).stat().st_mtime_ns) == before


def test_it_is_found_again(cli: InProcess) -> None:
    notices: list[str] = []
    assert cli("swarm", "publish", "tiny").code == 0
    catalog = Catalog.open(user=None, project=(), environment=(cli.catalog,))
    found = read_torrent(catalog.get("tiny"), notices.append)
    assert found is not None
    assert found.infohash == expected(cli).infohash
    assert found.has_layers


def test_trackers_are_kept_until_others_are_given(cli: InProcess) -> None:
    words = [word for tracker in TRACKERS for word in ("--tracker", tracker)]
    result = cli("swarm", "publish", "tiny", *words)
    assert result.out.count("&tr=") == 2
    assert manifest(cli).swarm == SwarmTorrent(expected(cli).infohash, TRACKERS)
    assert cli("swarm", "publish", "tiny").stderr_lines("is already in")
    cli("swarm", "publish", "tiny", "--tracker", TRACKERS[1], "--tracker", TRACKERS[1])
    assert manifest(cli).swarm == SwarmTorrent(expected(cli).infohash, TRACKERS[1:])
    assert parse(torrent_path(cli).read_bytes()).infohash == expected(cli).infohash


@pytest.mark.parametrize("tracker", ["wss://t.example", "udp://t.example", "https://u:secret@t.example/", ""])
def test_a_tracker_that_is_none_is_refused(cli: InProcess, tracker: str) -> None:
    result = cli("swarm", "publish", "tiny", "--tracker", tracker)
    assert_fails(result, 2, "--tracker")
    assert "secret" not in result.err
    assert not torrent_path(cli).exists()


def test_a_dry_run_writes_nothing(cli: InProcess) -> None:
    before = manifest_path(cli).read_bytes()
    result = cli("swarm", "publish", "tiny", "--dry-run")
    assert result.stderr_lines("would write", str(torrent_path(cli)))
    assert result.stderr_lines("would write the infohash")
    assert manifest_path(cli).read_bytes() == before
    assert not torrent_path(cli).exists()


def test_json_says_the_same(cli: InProcess) -> None:
    found: dict[str, Any] = cli("swarm", "publish", "tiny", "--json").document
    torrent = expected(cli)
    assert found["infohash"] == torrent.infohash
    assert (found["pieces"], found["piece_length"]) == (torrent.pieces, torrent.piece_length)
    assert (found["written"], found["dry_run"]) == (True, False)
    roots = {file["path"]: file["pieces_root"] for file in found["files"]}
    assert roots == {file.path: file.root.hex() or None for file in torrent.files}
    assert cli("swarm", "publish", "tiny", "--json").document["written"] is False


def test_a_damaged_file_is_not_published(cli: InProcess) -> None:
    blob_path(cli, BIG).chmod(0o600)
    blob_path(cli, BIG).write_bytes(BIG[:5] + b"?" + BIG[6:])
    assert_fails(cli("swarm", "publish", "tiny"), 5, "big.bin", "modelfetch verify --repair")
    assert manifest(cli).swarm is None
    assert not torrent_path(cli).exists()


def test_the_run_is_recorded(cli: InProcess) -> None:
    """As that of ``publish``; a dry run is not."""
    assert cli("swarm", "publish", "tiny", "--dry-run").code == 0
    assert cli("swarm", "publish", "tiny").code == 0
    torrent_path(cli).write_bytes(b"something else")
    assert_fails(cli("swarm", "publish", "tiny"), 2)
    runs = cli("history", "--json").document["runs"]
    assert [(run["operation"], run["models"], run["outcome"], run["exit_code"]) for run in runs] == [
        ("swarm publish", ["tiny"], "failed", 2),
        ("swarm publish", ["tiny"], "completed", 0),
    ]


def test_a_model_that_is_not_here_is_not_published(cli: InProcess) -> None:
    cli("remove", "tiny")
    assert_fails(cli("swarm", "publish", "tiny"), 4, "not present")


def test_a_manifest_that_cannot_be_written_is_refused_with_advice_of_this_command(
    cli: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no option for another file: the torrent lies beside the manifest of a catalog."""
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    result = cli("swarm", "publish", "tiny")
    assert_fails(result, 7, "is not writable", "Correct its permissions", "MODELFETCH_CATALOG")
    assert "--manifest" not in result.err
    assert not torrent_path(cli).exists()


def test_a_file_that_is_no_torrent_is_not_replaced(cli: InProcess) -> None:
    torrent_path(cli).write_bytes(b"notes")
    assert_fails(cli("swarm", "publish", "tiny"), 2, "is no torrent")
    assert torrent_path(cli).read_bytes() == b"notes"
    assert manifest(cli).swarm is None


def test_the_torrent_of_an_older_version_is_replaced(cli: InProcess) -> None:
    torrent_path(cli).write_bytes(metainfo_of({"a": b"1"}).encode())
    assert cli("swarm", "publish", "tiny").code == 0
    assert torrent_path(cli).read_bytes() == expected(cli).encode()


@pytest.mark.slow
def test_a_built_in_model_gets_a_copy_in_the_user_s_catalog(cli: InProcess) -> None:
    assert cli("ensure", "demo").code == 0
    found = cli("swarm", "publish", "demo", "--json").document
    path = Path(found["manifest"])
    assert path.parent.name == "catalog"
    assert path.parent != cli.catalog
    assert load_manifest(path).swarm == SwarmTorrent(found["infohash"])
    assert Path(found["torrent"]) == path.with_name("demo.torrent")
    assert "your catalog" in found["notices"][0]
    assert cli("show", "demo", "--json").document["swarm"]["infohash"] == found["infohash"]
    again = cli("swarm", "publish", "demo", "--json").document
    assert (again["written"], again["notices"]) == (False, [])


# Finding it

SOME = {"a.bin": bytes(700_000), "b": b"x", "empty": b""}
TORRENT = metainfo_of(SOME, "m-1")


def pinned(directory: Path, files: dict[str, bytes] = SOME, infohash: str = TORRENT.infohash) -> Manifest:
    specs = tuple(FileSpec(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items())
    return Manifest("m", "1", specs, swarm=SwarmTorrent(infohash), torrent=str(directory / "m.torrent"))


def test_a_torrent_that_does_not_fit_is_not_used(tmp_path: Path) -> None:
    model, path = pinned(tmp_path), tmp_path / "m.torrent"
    notices: list[str] = []
    assert read_torrent(model, notices.append) is None
    assert not notices, "a model needs no torrent file"
    for content in (
        b"",
        b"de",
        metainfo_of({"a": b"1"}).encode(),
        TORRENT.encode()[:-1],
        parse_info(TORRENT.info).encode(),
    ):
        path.write_bytes(content)
        assert read_torrent(model, notices.append) is None
    path.unlink()
    path.mkdir()
    assert read_torrent(model, notices.append) is None
    path.rmdir()
    os.mkfifo(path)
    assert read_torrent(model, notices.append) is None
    path.unlink()
    assert [each.startswith(f"m: {path} is not used: ") for each in notices] == [True] * 7
    path.write_bytes(TORRENT.encode())
    assert read_torrent(model, notices.append) is not None
    assert read_torrent(replace_manifest(model, swarm=None), notices.append) is None
    assert read_torrent(replace_manifest(model, torrent=None), notices.append) is None


def replace_manifest(model: Manifest, **changes: Any) -> Manifest:
    return replace(model, **changes)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda model: replace_manifest(model, swarm=None), "another infohash"),
        (lambda model: replace_manifest(model, swarm=SwarmTorrent("0" * 64)), "another infohash"),
        (lambda model: replace_manifest(model, files=model.files[:1]), "does not list"),
        (lambda model: replace_manifest(model, files=(*model.files, FileSpec("c", 0, "e" * 64))), "not have"),
    ],
)
def test_why_a_torrent_does_not_fit(tmp_path: Path, change: Callable[[Manifest], Manifest], why: str) -> None:
    check_fit(TORRENT, pinned(tmp_path))
    with pytest.raises(ValueError, match=why):
        check_fit(TORRENT, change(pinned(tmp_path)))


def test_the_torrent_can_be_computed_from_the_files(tmp_path: Path) -> None:
    places = {}
    for path, data in SOME.items():
        places[path] = tmp_path / path
        places[path].write_bytes(data)
    seen: list[tuple[str, int, int]] = []
    found = hash_model(pinned(tmp_path), places, lambda *each: seen.append(each))
    assert found.encode() == TORRENT.encode()
    assert seen[:3] == [("a.bin", 262_144, 700_000), ("a.bin", 524_288, 700_000), ("a.bin", 700_000, 700_000)]
