"""Every command with every standard stream closed, full, without its reader, or in a narrow encoding."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_tree import command_tree
from tests.e2e.command import PATIENCE, Command
from tests.origin import Origin, model

FULL_DEVICE = Path("/dev/full")
"""Takes nothing (Linux)."""

ENDINGS: Mapping[str, int] = {
    "": 2,
    "--help": 0,
    "--version": 0,
    "--show-completion bash": 0,
    "nonsense": 2,
    "ensure m": 0,
    "ensure m --json": 0,
    "ensure m --force": 0,
    "ensure absent": 3,
    "ensure absent --json": 3,
    "ensure --help": 0,
    "plan m": 0,
    "verify": 5,
    "verify m --json": 0,
    "verify bad": 5,
    "list": 0,
    "show m": 0,
    "path m": 0,
    "path absent": 3,
    "remove m --dry-run": 0,
    "gc --dry-run": 0,
    "add ./nowhere": 3,
    "adopt ./nowhere": 3,
    "bundle": 2,
    "bundle create m -o /dev/null": 2,
    "bundle inspect ./nowhere": 3,
    "bundle import ./nowhere": 3,
    "bundle verify ./nowhere": 3,
    "bundle push m oci:127.0.0.1:9/lab/m --offline": 4,
    "bundle pull oci:127.0.0.1:9/lab/m --offline": 4,
    "find " + "0" * 64: 3,
    "cid ./nowhere": 7,
    "publish m --dry-run": 0,
    "swarm publish m --dry-run": 0,
    "outdated": 0,
    "upgrade m": 2,
    "diff m": 3,
    "history": 0,
    "log": 0,
    "metrics": 0,
    "metrics --csv": 0,
    "metrics --prometheus": 0,
    "sources": 0,
    "doctor --offline": 0,
    "doctor --offline --json": 0,
    "serve --port 99999": 2,
    "jobs --server http://127.0.0.1:9/#token=t": 6,
    "attach x --server http://127.0.0.1:9/#token=t": 6,
    "cancel x --server http://127.0.0.1:9/#token=t": 6,
    "retry x --server http://127.0.0.1:9/#token=t": 6,
    "quarantine list": 0,
    "quarantine purge --all --dry-run": 0,
    "cache-key m": 0,
    "cache-key": 2,
    "ci github demo": 0,
    "ci docker m": 2,
    "completion bash": 0,
    "completion tcsh": 2,
    "man": 0,
    "config": 2,
    "config show": 0,
    "config path": 0,
    "config set network.files 3": 0,
    "config unset network.files": 0,
}
"""Commands, and their exit code where all streams are as usual."""

SILENT = frozenset(
    {
        *("log", "history", "outdated", "config set network.files 3", "config unset network.files"),
        *("gc --dry-run", "quarantine purge --all --dry-run"),
    }
)
"""Those that write nothing to stdout, or nothing when nothing is remembered or pinned."""

STREAMS = ("stdin", "stdout", "stderr")
WAYS = ("closed", "full", "broken", "latin-1")

QUICK: Mapping[str, Sequence[tuple[str, str]]] = {
    "ensure m": [("stdout", "full"), ("stderr", "closed")],
    "ensure m --json": [("stdout", "latin-1")],
    "list": [("stdout", "full")],
}
"""What the quick suite runs: a path, events and a table; the slow one has everything."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command with odd streams ended; what went to a stream that is not read is empty."""

    code: int
    out: str
    err: str


def run(cli: Command, command: str, stream: str, way: str) -> Ended:
    """Run a command with one of its streams in an odd way."""
    number = STREAMS.index(stream)
    # Whoever runs the tests need not have a shell among their ancestors: the one that is named counts.
    environment = cli.environment | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    usual: list[int] = [subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE]
    odd: list[int] = []

    def close() -> None:  # in the child, right before the command
        os.close(number)

    if way == "full":
        odd = [os.open(FULL_DEVICE, os.O_RDWR)]
    elif way == "broken":
        reading, writing = os.pipe()
        odd = [reading] if number == 0 else [writing]
        os.close(writing if number == 0 else reading)
    elif way == "latin-1":
        environment["PYTHONIOENCODING"] = "latin-1"
    streams = [odd[0] if odd and number == n else usual[n] for n in range(3)]
    done = subprocess.run(
        cli.line(*command.split()),
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        env=environment,
        cwd=cli.work,
        timeout=PATIENCE,
        check=False,
        preexec_fn=close if way == "closed" else None,
    )
    for descriptor in odd:
        os.close(descriptor)
    out, err = ((written or b"").decode("latin-1") for written in (done.stdout, done.stderr))
    return Ended(done.returncode, out, err)


@pytest.fixture
def scene(cli: Command) -> Iterator[Command]:
    """A model that is here, one of which a file is bad, and a title that no narrow encoding has."""
    with Origin() as origin:
        files = {"a.bin": 1000, "é/模.bin": 10}
        good, bad = (model(origin, files, name=name, catalog=cli.catalog) for name in ("m", "bad"))
        for served in (good, bad):
            path = cli.catalog / f"{cli.serve(served).name}.toml"
            path.write_text(path.read_text().replace("schema = 1", 'schema = 1\ntitle = "模型"'))
        cli.prepare("m", "bad")
        (cli.directory(bad) / "a.bin").unlink()
        (cli.directory(bad) / "a.bin").write_bytes(b"x")
        yield cli


def check(cli: Command, command: str, stream: str, way: str) -> None:
    ended, usual = run(cli, command, stream, way), ENDINGS[command]
    assert "Traceback" not in ended.err + ended.out
    if stream != "stdout" or way == "latin-1":
        assert ended.code == usual, ended
    elif way == "broken":
        assert ended.code in {usual, 141}, ended
    else:
        lost = ended.code == 7
        assert ended.code in {usual, 7}, ended
        assert lost == ("cannot write to standard output" in ended.err) or usual, ended
        assert lost or usual or command in SILENT, ended
    if stream == "stderr" and way != "latin-1":
        plain = run(cli, command, "stdin", "closed").out
        assert len(ended.out.splitlines()) == len(plain.splitlines()), "talk on stdout"


ODD = [(stream, way) for stream in STREAMS for way in WAYS if (stream, way) != ("stdin", "latin-1")]

needs_full = pytest.mark.skipif(not FULL_DEVICE.exists(), reason="this system has no full device")


@pytest.mark.quick(1)
@needs_full
@pytest.mark.parametrize("command", QUICK, ids=lambda command: command or "bare")
def test_a_command_with_an_odd_stream_ends_as_it_should(scene: Command, command: str) -> None:
    for stream, way in QUICK[command]:
        check(scene, command, stream, way)


@needs_full
@pytest.mark.slow
@pytest.mark.parametrize("command", ENDINGS, ids=lambda command: command or "bare")
def test_every_command_with_every_odd_stream_ends_as_it_should(scene: Command, command: str) -> None:
    for stream, way in ODD:
        check(scene, command, stream, way)


def test_every_command_is_in_the_matrix() -> None:
    root = command_tree()
    named = {command.split()[0] for command in ENDINGS if command}
    assert {*root.commands} <= named


@pytest.mark.slow
def test_a_path_is_written_as_the_bytes_it_is_whatever_the_encoding(cli: Command) -> None:
    cache = cli.home / "模é"
    with Origin() as origin:
        served = cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
        cli.environment["MODELFETCH_CACHE_DIR"] = str(cache)
        for _ in range(2):  # fetched, and warm
            done = subprocess.run(
                cli.line("ensure", "m"),
                capture_output=True,
                env=cli.environment | {"PYTHONIOENCODING": "ascii"},
                cwd=cli.work,
                check=True,
            )
            assert done.stdout == os.fsencode(cache / "models" / "m" / served.version) + b"\n"
