"""``quarantine``: bytes that failed are shown, given back without replacing anything, and removed."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from modelfetch.store import Store
from modelfetch.store.evidence import Evidence
from tests.e2e.command import InProcess, assert_fails
from tests.store.material import digest, ensure, noise, spec

WRONG = noise(5000, seed=7)
RIGHT = digest(b"right")


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    return InProcess(tmp_path)


def put(cli: InProcess, path: Path, right: bytes = b"right") -> Evidence:
    """Move wrong bytes into quarantine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(WRONG)
    store = Store(cli.cache)
    entry = store.quarantine(path, spec(right, "dir/a"), actual=digest(WRONG), source="mirror a")
    return next(each for each in store.evidence() if each.directory == entry)


def test_entries_are_listed_and_shown(cli: InProcess) -> None:
    assert cli("quarantine", "list").err == "the quarantine is empty\n"
    put(cli, cli.home / "a")
    (line,) = cli("quarantine", "list").lines[1:]
    assert (line.split()[0], line.split()[-3:]) == (RIGHT[:12], ["mirror", "a", "dir/a"])
    (document,) = cli("quarantine", "list", "--json").document["entries"]
    assert document == cli("quarantine", "show", RIGHT[:6], "--json").document
    assert (document["expected"], document["actual"], document["size"]) == (RIGHT, digest(WRONG), 5000)
    assert document["path"] == str(cli.home / "a")
    assert document["at"].endswith("Z")
    assert digest(WRONG) in cli("quarantine", "show", RIGHT[:6]).out


def test_bytes_go_back_to_where_they_were(cli: InProcess) -> None:
    put(cli, cli.home / "a")
    done = cli("quarantine", "restore", RIGHT[:12])
    assert (done.code, done.lines) == (0, [str(cli.home / "a")])
    assert (cli.home / "a").read_bytes() == WRONG
    assert cli.files("quarantine") == []


def test_or_to_a_new_file_and_none_is_replaced(cli: InProcess) -> None:
    put(cli, cli.home / "a")
    (cli.home / "a").write_bytes(b"new")
    assert_fails(cli("quarantine", "restore", RIGHT), 2, "exists already", "--to FILE")
    assert_fails(cli("quarantine", "restore", RIGHT, "--to", "none/b"), 2, "is not a directory")
    assert cli("quarantine", "restore", RIGHT, "--to", "b", "--json").document["path"] == str(cli.work / "b")
    assert ((cli.work / "b").read_bytes(), (cli.home / "a").read_bytes()) == (WRONG, b"new")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_also_on_another_file_system(cli: InProcess) -> None:
    put(cli, cli.home / "a")
    with TemporaryDirectory(dir="/dev/shm") as directory:
        target = Path(directory, "a")
        assert cli("quarantine", "restore", RIGHT, "--to", target).code == 0
        assert target.read_bytes() == WRONG
        assert list(target.parent.iterdir()) == [target]


def test_no_name_in_the_cache_that_needs_verified_bytes_is_given(cli: InProcess) -> None:
    manifest = ensure(Store(cli.cache), {"a": noise(100)})
    entry = put(cli, Store(cli.cache).directory(manifest) / "b")
    assert_fails(cli("quarantine", "restore", RIGHT), 2, "failed verification there")
    blob = cli.cache / "blobs" / "sha256" / RIGHT[:2] / RIGHT
    blob.parent.mkdir()
    for inside in (blob, cli.cache / "models" / "tiny" / "v2.json", cli.cache / "state.db"):
        assert_fails(cli("quarantine", "restore", RIGHT, "--to", inside), 2, "verified bytes only")
    assert entry.directory.exists()


def test_also_if_the_cache_is_a_link_and_was_named_otherwise(cli: InProcess) -> None:
    real = cli.home / "real"
    real.mkdir()
    cli.cache.symlink_to(real)
    blob = real / "blobs" / "sha256" / RIGHT[:2] / RIGHT
    blob.parent.mkdir(parents=True)
    blob.write_bytes(WRONG)
    Store(real).quarantine(blob, spec(b"right"), actual=digest(WRONG), source="mirror a")
    assert_fails(cli("quarantine", "restore", RIGHT), 2, "verified bytes only")
    assert_fails(cli("quarantine", "restore", RIGHT, "--to", blob), 2, "verified bytes only")
    assert not blob.exists()


def test_a_file_that_no_manifest_lists_goes_back_into_its_model(cli: InProcess) -> None:
    store = Store(cli.cache)
    manifest = ensure(store, {"a": noise(100)})
    (store.directory(manifest) / "extra").write_bytes(WRONG)
    store.quarantine_unlisted(manifest, "extra")
    assert cli("quarantine", "restore", digest(WRONG)[:12]).code == 0
    assert (store.directory(manifest) / "extra").read_bytes() == WRONG


def test_a_reason_that_somebody_made_up_leads_nowhere(cli: InProcess) -> None:
    entry = put(cli, cli.home / "a")
    reason = entry.directory / "reason.json"
    for path in (
        "relative",
        "",
        str(cli.cache / "models" / "m" / ".." / ".." / "state.db"),
        "/\x1b[2J/x",
        "/\0/x",
        "/\ud800/x",
    ):
        reason.write_text(json.dumps({"path": path, "expected": "", "source": "\x1b[2J"}))
        done = cli("quarantine", "restore", RIGHT)
        assert_fails(done, 2)
        assert "\x1b" not in done.err + cli("quarantine", "list").out + cli("quarantine", "show", RIGHT).out
    (cli.cache / "quarantine" / f"00010101T000000.000000Z-{RIGHT}").mkdir()
    for content in (b"[", b"[1]", b'{"path": 1}', b"\xff", b"[" * 100_000):
        reason.write_bytes(content)
        (found,) = Store(cli.cache).evidence()
        assert (found.path, found.actual, found.size) == ("", "", len(WRONG))


def test_entries_are_removed_and_a_dry_run_says_the_same(cli: InProcess) -> None:
    put(cli, cli.home / "a")
    put(cli, cli.home / "b", b"other")
    assert_fails(cli("quarantine", "purge"), 2, "no entry is named")
    assert_fails(cli("quarantine", "purge", "z"), 2, "no entry has an id")
    assert len(cli("quarantine", "purge", RIGHT, "--json").document["paths"]) == 2
    put(cli, cli.home / "a")
    dry = cli("quarantine", "purge", "--all", "--dry-run", "--json").document
    assert cli("quarantine", "purge", "--all", "--json").document == dry | {"dry_run": False}
    assert (len(dry["paths"]), cli.files("quarantine")) == (4, [])
