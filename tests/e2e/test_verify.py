"""``verify``: what it finds, what it says, what it puts right."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.command import InProcess, assert_fails
from tests.origin import Origin, ServedModel, faults, whisper_like

ENCODER = "onnx/encoder_model.onnx"


@pytest.fixture
def cli(inside: InProcess) -> InProcess:
    return inside


@pytest.fixture
def here(cli: InProcess, origin: Origin) -> ServedModel:
    """A model that is here and right."""
    served = cli.serve(whisper_like(origin, shrink=200, catalog=cli.catalog))
    cli.prepare(served.name)
    origin.forget()
    return served


def flip(path: Path, *, unseen: bool = False) -> bytes:
    """Turn one bit of a file over, in place, and give the bytes it has now.

    Args:
        path: The file.
        unseen: Whether size and times look as before.
    """
    before = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    path.chmod(before.st_mode)
    if unseen:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return bytes(data)


def test_a_right_model_is_verified_without_a_request(
    cli: InProcess, origin: Origin, here: ServedModel
) -> None:
    result = cli("verify")
    assert (result.code, result.out) == (0, "")
    assert result.stderr_lines("9 files", "verified")
    assert origin.requests == []


def test_damage_is_found_named_and_put_right(cli: InProcess, origin: Origin, here: ServedModel) -> None:
    """A flipped bit, a lost file and a short one: told by reason; repaired; the wrong bytes put aside."""
    directory = cli.directory(here)
    damaged = flip(directory / ENCODER)
    (directory / "merges.txt").unlink()
    (directory / "vocab.json").chmod(0o644)
    os.truncate(directory / "vocab.json", 1000)

    found = cli("verify")
    assert sorted(found.lines) == [
        f"{here.name}\tmerges.txt\tmissing",
        f"{here.name}\t{ENCODER}\thash",
        f"{here.name}\tvocab.json\tsize",
    ]
    assert_fails(found, 5, f"modelfetch verify --repair {here.name}")
    assert origin.requests == []

    repaired = cli("verify", "--repair", here.name)
    assert (repaired.code, repaired.out) == (0, ""), repaired.err
    assert cli.has(here)
    assert origin.bytes_sent <= sum(
        here.contents[path].size for path in (ENCODER, "vocab.json", "merges.txt")
    )
    kept = [path for path in cli.files("quarantine") if path.name == "data" and path.read_bytes() == damaged]
    assert len(kept) == 1
    reason = json.loads(kept[0].with_name("reason.json").read_text())
    assert reason["expected"] == here.contents[ENCODER].sha256
    origin.forget()
    cli.prepare(here.name)
    assert origin.requests == []


def test_quick_looks_at_size_and_times_only(cli: InProcess, here: ServedModel) -> None:
    flip(cli.directory(here) / ENCODER, unseen=True)
    assert cli("verify", "--quick").code == 0
    result = cli("verify")
    assert result.lines == [f"{here.name}\t{ENCODER}\thash"]
    assert_fails(result, 5)


def test_a_file_that_cannot_be_repaired_keeps_its_bytes(
    cli: InProcess, origin: Origin, here: ServedModel
) -> None:
    """Nothing is thrown away before its replacement was verified."""
    path = cli.directory(here) / ENCODER
    damaged = flip(path)
    origin.fault("*", faults.status(404))
    result = cli("verify", "--repair")
    assert_fails(result, 5, ENCODER)
    assert result.lines == [f"{here.name}\t{ENCODER}\thash"]
    assert path.read_bytes() == damaged


def test_ensure_heals_what_looks_changed(cli: InProcess, here: ServedModel) -> None:
    """A file whose size or time changed is not taken for the one that was verified."""
    flip(cli.directory(here) / ENCODER)
    result = cli("ensure", here.name)
    assert result.code == 0, result.err
    assert cli.has(here)


def test_json_has_the_reasons_and_one_end(cli: InProcess, here: ServedModel) -> None:
    (cli.directory(here) / "config.json").unlink()
    result = cli("verify", "--json")
    assert result.code == 5
    last = result.records[-1]
    assert (last["event"], last["outcome"], last["exit_code"]) == ("run_finished", "failed", 5)
    assert last["error"]["code"] == "integrity"
    assert [(file["file"], file["reason"]) for file in last["files"] if file["status"] == "failed"] == [
        ("config.json", "missing")
    ]
    assert len(last["files"]) == 9


def test_nothing_present_is_nothing_wrong(cli: InProcess) -> None:
    result = cli("verify")
    assert (result.code, result.out) == (0, "")
    assert not cli.cache.exists()
