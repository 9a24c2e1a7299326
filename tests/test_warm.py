"""The warm answer: given from the stamp alone, and withheld as soon as any fact it relies on has changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import modelfetch
from modelfetch import warm
from modelfetch.history.metrics import health, summary
from modelfetch.workspace import Workspace
from tests.origin import Origin, ServedModel, model

FILES = {"config.json": 200, "onnx/model.onnx": 5_000}


@dataclass
class Place:
    """A cache with one model in it, and the process's own circumstances around it."""

    cache: Path
    catalog: Path
    home: Path
    served: ServedModel

    @property
    def directory(self) -> Path:
        return self.cache / "models" / "m" / "1"

    @property
    def receipt(self) -> Path:
        return self.cache / "models" / "m" / "1.json"

    @property
    def stamp(self) -> Path:
        return self.cache / "models" / "m" / ".ready"

    def answer(self, *arguments: str) -> list[str] | None:
        found = warm.answer([*arguments])
        return None if found is None else [directory for directory, _ in found]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Make a model present in the ordinary way."""
    for name in list(os.environ):
        if name.startswith(("MODELFETCH_", "HF_", "XDG_")):
            monkeypatch.delenv(name)
    home, work = tmp_path / "home", tmp_path / "home" / "work"
    work.mkdir(parents=True)
    with Origin() as origin:
        served = model(origin, FILES, catalog=tmp_path / "catalog")
        for name, value in {
            **served.environment,
            "HOME": str(home),
            "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(work)
        modelfetch.ensure("m")
    return Place(tmp_path / "cache", tmp_path / "catalog", home, served)


def test_it_names_the_directory_and_says_so(place: Place) -> None:
    assert warm.answer(["ensure", "m"]) == [
        (str(place.directory), "m is ready - 2 files, 5.20 kB, already present")
    ]
    assert place.answer("ensure", "-q", "m", "m") == [str(place.directory)]


@pytest.mark.lean
def test_the_command_gives_it_without_loading_anything(place: Place) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modelfetch", "ensure", "m"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"{place.directory}\n"
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if "import time:" in line}
    own = {name for name in loaded if name.startswith("modelfetch")}
    assert own == {"modelfetch", "modelfetch.warm"}
    assert loaded.isdisjoint({"json", "re", "pathlib", "tomllib", "typing", "dataclasses", "enum"})


def test_only_the_plainest_call_is_answered(place: Place) -> None:
    others = [
        (),
        ("ensure",),
        ("verify", "m"),
        ("ensure", "m", "--offline"),
        ("ensure", "m", "--json"),
        ("ensure", "other"),
        ("ensure", "m", "other"),
        ("ensure", "../models/m"),
        ("ensure", "."),
        ("ensure", ""),
    ]
    assert place.answer("ensure", "m") is not None
    assert [arguments for arguments in others if place.answer(*arguments) is not None] == []


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _replace(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    stat = path.stat()
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    copy.replace(path)


def _link(path: Path) -> None:
    """Put a symbolic link to the same inode in the file's place."""
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


def _become_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _appear(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()


def _edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def _rewrite(place: Place, before: str, after: str) -> None:
    """Change the receipt, and the stamp so that it fits: as somebody would who wants to be believed."""
    old = warm.stamp_of(place.receipt.stat())
    _edit(place.receipt, before, after)
    _edit(place.stamp, old, warm.stamp_of(place.receipt.stat()))


def _move(place: Place, label: str) -> None:
    """Give a directory and its receipt another name, and say so in the stamp."""
    place.directory.rename(place.directory.with_name(label))
    place.receipt.rename(place.receipt.with_name(f"{label}.json"))
    _edit(place.stamp, " 1\n", f" {label}\n")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: dict[str, Callable[[Place], object]] = {
    "a file is gone": lambda place: (place.directory / "config.json").unlink(),
    "a file was touched": lambda place: _touch(place.directory / "onnx/model.onnx"),
    "a file was replaced by its copy": lambda place: _replace(place.directory / "config.json"),
    "a file became a link": lambda place: _link(place.directory / "config.json"),
    "a file became a directory": lambda place: _become_directory(place.directory / "config.json"),
    "the receipt is gone": lambda place: place.directory.with_name("1.json").unlink(),
    "the receipt was written again": lambda place: _replace(place.directory.with_name("1.json")),
    "the manifest was edited": lambda place: _touch(place.catalog / "m.toml"),
    "the catalog has another manifest": lambda place: (place.catalog / "n.toml").touch(),
    "a configuration file appeared": lambda place: _appear(place.home / ".config/modelfetch/config.toml"),
    "a user's catalog appeared": lambda place: (place.home / ".config/modelfetch/catalog").mkdir(
        parents=True
    ),
    "a project file appeared here": lambda place: (place.home / "work/modelfetch.toml").touch(),
    "a project file appeared above": lambda place: (place.home / "modelfetch.toml").touch(),
    "the stamp is gone": lambda place: place.stamp.unlink(),
    "the stamp is empty": lambda place: place.stamp.write_text(""),
    "the stamp was cut": lambda place: place.stamp.write_text(place.stamp.read_text()[:-10]),
    "the stamp is of another format": lambda place: place.stamp.write_text(
        place.stamp.read_text().replace("ready 2", "ready 1", 1)
    ),
    "the stamp is no text": lambda place: place.stamp.write_bytes(b"\xff\xfe\x00"),
    "the stamp names another directory": lambda place: _edit(place.stamp, " 1\n", " 2\n"),
    "the stamp leads elsewhere": lambda place: _edit(place.stamp, " 1\n", " ../../elsewhere/1\n"),
    "the stamp leads nowhere": lambda place: _edit(place.stamp, " 1\n", " .\n"),
    "the stamp has an escape in it": lambda place: _edit(place.stamp, " 1\n", " \x1b[2J\n"),
    "the stamp has a line of its own": lambda place: _edit(place.stamp, "end", "file 1 2 3 /etc/passwd\nend"),
    "the stamp is a pipe": lambda place: _pipe(place.stamp),
    "the stamp is a link": lambda place: _link(place.stamp),
    "the receipt is a pipe": lambda place: _pipe(place.receipt),
    "the receipt is a link": lambda place: _link(place.receipt),
    "the receipt is another model's": lambda place: _rewrite(place, '"name": "m"', '"name": "n"'),
    "the receipt is of another version": lambda place: _rewrite(place, '"version": "1"', '"version": "2"'),
    "the receipt is of another identity": lambda place: _move(place, f"1+{'0' * 12}"),
    "the receipt is of a later format": lambda place: _rewrite(place, '"format": 1', '"format": 2'),
    "the receipt lists no file": lambda place: _rewrite(place, '"path"', '"road"'),
    "the receipt was cut": lambda place: _rewrite(place, '"consulted": [', '"consulted": {'),
    "the receipt is in another form": lambda place: _rewrite(place, '", "sha256"', '","sha256"'),
}


@pytest.mark.quick(16)
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_a_file_is_a_doubt(place: Place, change: str) -> None:
    assert place.answer("ensure", "m") is not None
    CHANGES[change](place)
    assert place.answer("ensure", "m") is None


def test_any_change_of_the_environment_is_a_doubt(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [
        ("HOME", "/elsewhere"),
        ("XDG_CACHE_HOME", "/elsewhere"),
        ("XDG_CONFIG_HOME", "/elsewhere"),
        ("MODELFETCH_CATALOG", "/elsewhere"),
        ("MODELFETCH_CATALOG", ""),
        ("MODELFETCH_CATALOG", "relative"),
        ("MODELFETCH_CACHE_DIR", "/elsewhere"),
        ("MODELFETCH_CACHE_DIR", "relative"),
        ("MODELFETCH_CONFIG", "/elsewhere"),
        ("MODELFETCH_OFFLINE", "1"),
        ("MODELFETCH_NETWORK_FILES", "2"),
    ]
    for name, value in changes:
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert place.answer("ensure", "m") is None, (name, value)
    assert place.answer("ensure", "m") is not None


def test_another_directory_is_no_doubt_while_no_project_speaks(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert place.answer("ensure", "m") == [str(place.directory)]


def test_a_stamp_that_was_lost_is_written_again(place: Place) -> None:
    place.stamp.unlink()
    modelfetch.ensure("m")
    assert place.answer("ensure", "m") == [str(place.directory)]


def test_without_a_variable_the_cache_is_where_the_system_keeps_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELFETCH_CACHE_DIR")
    (place.home / ".cache").mkdir()
    place.cache.rename(place.home / ".cache" / "modelfetch")
    modelfetch.ensure("m")
    expected = place.home / ".cache" / "modelfetch" / "models" / "m" / "1"
    assert place.answer("ensure", "m") == ([str(expected)] if sys.platform == "linux" else None)


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes and links")
@pytest.mark.parametrize("kind", ["pipe", "link", "directory"])
def test_a_stamp_that_is_no_plain_file_is_not_read(place: Place, kind: str) -> None:
    """Reading a pipe would wait for somebody to write to it, for ever."""
    kept = place.stamp.rename(place.stamp.with_name("kept"))
    if kind == "pipe":
        os.mkfifo(place.stamp)
    elif kind == "link":
        place.stamp.symlink_to(kept)
    else:
        place.stamp.mkdir()
    assert place.answer("ensure", "m") is None


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
@pytest.mark.parametrize("planted", ["models", "models/m", "models/m/1"])
def test_no_link_inside_the_cache_is_followed(place: Place, planted: str) -> None:
    """As the full path does, which tells of it."""
    assert place.answer("ensure", "m")
    (place.cache / planted).rename(place.home / "aside")
    (place.cache / planted).symlink_to(place.home / "aside")
    assert place.answer("ensure", "m") is None


def test_a_cache_that_everybody_can_write_to_is_looked_at_closely(place: Place) -> None:
    place.cache.chmod(0o777)
    assert place.answer("ensure", "m") is None
    place.cache.chmod(0o1777)
    assert place.answer("ensure", "m") == [str(place.directory)]


def test_a_claim_of_its_own_is_answered_too(place: Place) -> None:
    """Its directory has an identity in its name, as that of a second manifest of one name and version."""
    identity = json.loads(place.receipt.read_text())["identity"]
    _move(place, f"1+{identity[:12]}")
    assert place.answer("ensure", "m") == [str(place.cache / "models" / "m" / f"1+{identity[:12]}")]


def test_words_are_made_here_whatever_the_stamp_says(place: Place) -> None:
    """There is no room for any in it: one more line is a doubt."""
    place.stamp.write_text(place.stamp.read_text().replace("end", "words \x1b[31mowned\nend"))
    assert warm.answer(["ensure", "m"]) is None


@pytest.mark.parametrize("path", ["\u00e9t\u00e9/\u6a21\u578b.bin", "\U00020000.bin", "a-b+c_d/e.f"])
def test_names_beyond_ascii_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    with Origin() as origin:
        served = model(origin, {path: 10}, catalog=tmp_path / "catalog")
        for name, value in {**served.environment, "MODELFETCH_CACHE_DIR": str(tmp_path / "cache")}.items():
            monkeypatch.setenv(name, value)
        modelfetch.ensure("m")
    assert warm.answer(["ensure", "m"]) == [
        (str(tmp_path / "cache" / "models" / "m" / "1"), "m is ready - 1 file, 10 B, already present")
    ]


# What is counted


def counted(place: Place) -> list[str]:
    return [line.partition(" ")[2] for line in (place.cache / "hits").read_text().splitlines()]


def run(place: Place, *arguments: str) -> None:
    """Run the command as a process of its own."""
    command = [sys.executable, "-m", "modelfetch", *arguments]
    subprocess.run(command, cwd=place.home / "work", check=True, capture_output=True)


@pytest.mark.slow
def test_a_run_that_found_everything_there_is_counted_by_either_way(place: Place) -> None:
    run(place, "ensure", "m")
    assert place.answer("ensure", "m")
    run(place, "ensure", "m", "--json")  # not for the warm answer
    assert counted(place) == ["m/1"] * 2


def test_such_runs_are_hits_in_the_metrics(place: Place) -> None:
    for _ in range(2):
        run(place, "ensure", "m")
    workspace = Workspace.open()
    with workspace.history() as history:
        rows = workspace.attempts(history)
        assert summary(rows)["cache_hits"] == 4
        assert health(rows)["cache"]["hit_rate"] == pytest.approx(66.67)
        assert workspace.attempts(history, datetime.now(UTC) + timedelta(hours=1)) == []
        assert workspace.reset_metrics(history) == 6
        assert workspace.attempts(history) == []
    run(place, "ensure", "m")
    assert counted(place) == ["m/1"]


@pytest.mark.slow
def test_nothing_is_counted_where_that_is_not_possible_and_the_answer_is_given(place: Place) -> None:
    (place.cache / "hits").unlink(missing_ok=True)
    target = place.home / "precious"
    target.write_text("x")
    (place.cache / "hits").symlink_to(target)
    run(place, "ensure", "m")
    assert target.read_text() == "x"
    (place.cache / "hits").unlink()
    os.mkfifo(place.cache / "hits")
    run(place, "ensure", "m")
    (place.cache / "hits").unlink()
    run(place, "ensure", "m")
    assert not (place.cache / "hits").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_nothing_is_written_through_a_second_name(place: Place) -> None:
    target = place.home / "precious"
    target.write_text("x")
    (place.cache / "hits").unlink(missing_ok=True)
    (place.cache / "hits").hardlink_to(target)
    run(place, "ensure", "m")
    run(place, "ensure", "m", "--json")  # not for the warm answer
    assert target.read_text() == "x"


def test_without_a_history_nothing_is_counted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.cache / "hits").unlink(missing_ok=True)
    monkeypatch.setenv("MODELFETCH_HISTORY_DAYS", "0")
    modelfetch.ensure("m")
    assert not (place.cache / "hits").exists()


@pytest.mark.slow
def test_the_notes_stay_small_and_the_latest_are_kept(place: Place) -> None:
    directory = str(place.directory)
    for _ in range(3):
        (place.cache / "hits").write_text("1 m/1\n" * (warm.HITS_LIMIT // 6 + 1))
        warm.count(str(place.cache), [directory])
    assert counted(place) == ["m/1"]
    assert sum(path.stat().st_size for path in place.cache.glob("hits*")) < 2 * warm.HITS_LIMIT
    assert len(Workspace.open().store.hits()) == warm.HITS_LIMIT // 6 + 2


def test_what_is_no_note_is_passed_over(place: Place) -> None:
    (place.cache / "hits").write_bytes(b"\xff\n1 m\nx m/1\n99999999999999 m/1\n5 m/1 \n" + b"7 m/1\n")
    assert [(hit.at.timestamp(), hit.directory) for hit in Workspace.open().store.hits()] == [
        (5, "1 "),
        (7, "1"),
    ]
