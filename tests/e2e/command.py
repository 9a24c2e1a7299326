"""The real command, in a process and an environment of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import modelfetch
from modelfetch import tracing
from modelfetch.cli import entry
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.stream import follow
from modelfetch.workspace import Workspace
from tests import plain
from tests.origin import ServedModel
from tests.schemas.checking import check_output

PATIENCE = 40.0
"""Seconds after which a command that has not ended counts as hanging."""

NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nobody listens."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one command."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """Lines of stdout."""
        return self.out.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Lines of stdout, each one JSON object."""
        return [json.loads(line) for line in self.lines]

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    def stderr_lines(self, *words: str) -> list[str]:
        """Lines of stderr that contain all of these words."""
        return [line for line in self.err.splitlines() if all(word in line for word in words)]


class Running:
    """A command under way; its output goes to files, so that it can be read meanwhile."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self._out, self._err = log.with_suffix(".out"), log.with_suffix(".err")
        self._started = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text("utf-8")

    def until(self, condition: Callable[[Running], bool], seconds: float = PATIENCE) -> None:
        """Wait until something is true of it."""
        deadline = time.monotonic() + seconds
        while not condition(self):
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.err}"
            assert time.monotonic() < deadline, f"not so within {seconds} s: {self.err}"
            time.sleep(0.005)

    def until_stderr_has(self, words: str) -> None:
        """Wait until stderr contains these words."""
        self.until(lambda running: words in running.err)

    def interrupt(self, number: int = signal.SIGINT, times: int = 1) -> Result:
        """Send a signal, and wait for the end; the seconds of the result count from the signal."""
        sent = time.monotonic()
        for _ in range(times):
            self.process.send_signal(number)
            time.sleep(0.02 * (times - 1))
        return self._result(sent)

    def finish(self) -> Result:
        """Wait for the end."""
        return self._result(self._started)

    def _result(self, since: float) -> Result:
        code = self.process.wait(PATIENCE)
        return Result(code, self.out, self.err, time.monotonic() - since)


class Command:
    """``modelfetch`` as a person has it: own home, own cache, no network but this machine.

    Attributes:
        home: Everything the command may touch lies below it.
        cache: Root of the cache.
        work: The working directory.
        catalog: A directory of manifests that every command knows.
        environment: What every command gets.
        is_checked: Whether what is printed with ``--json`` must follow its schema; off where a server that
            the test invents says what is printed.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cache = home / "cache"
        self.work = home / "work"
        self.catalog = home / "catalog"
        self.environment = _environment(self)
        self.is_checked = True
        self._logs = home / "logs"
        self._runs = 0
        for directory in (self.work, self.catalog, self._logs):
            directory.mkdir(parents=True)

    def __call__(self, *arguments: str | Path, **env: str) -> Result:
        """Run a command to its end; keywords are more environment."""
        started = time.monotonic()
        done = subprocess.run(
            self.line(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environment | env,
            cwd=self.work,
            timeout=PATIENCE,
            check=False,
        )
        result = Result(
            done.returncode, done.stdout.decode(), done.stderr.decode(), time.monotonic() - started
        )
        self._check(arguments, result)
        return result

    def _check(self, arguments: Sequence[str | Path], result: Result) -> None:
        if self.is_checked:
            check_output([*map(str, arguments)], result.code, result.out)

    def start(self, *arguments: str | Path, **env: str) -> Running:
        """Start a command and do not wait for it."""
        self._runs += 1
        log = self._logs / f"{self._runs}"
        return Running(self.line(*arguments), self.environment | env, self.work, log)

    def line(self, *arguments: str | Path) -> list[str]:
        """The words of a command."""
        program = plain.command() or ["-m", "modelfetch"]
        return [sys.executable, *program, *map(str, arguments)]

    def prepare(self, *names: str) -> None:
        """Ensure models in this process: for what comes before and after the command under test."""
        workspace = Workspace.open(environ=self.environment, cwd=self.work)
        finished = follow(workspace.ensure(workspace.manifests(names), EnsureOptions()), [])
        assert finished.outcome == "completed", finished.error

    def serve(self, model: ServedModel) -> ServedModel:
        """Let every command know the origin of a model."""
        self.environment["HF_ENDPOINT"] = model.origin.endpoint
        return model

    def directory(self, model: ServedModel) -> Path:
        """Where a model lies, or would."""
        return self.cache / "models" / model.name / model.version

    def has(self, model: ServedModel) -> bool:
        """Whether every file of a model is there with the right bytes."""
        return all(
            (self.directory(model) / path).read_bytes() == content.data
            for path, content in model.contents.items()
        )

    def files(self, *parts: str) -> list[Path]:
        """Every file below a directory of the cache."""
        return sorted(path for path in self.cache.joinpath(*parts).rglob("*") if path.is_file())


class InProcess(Command):
    """The same command line without a process of its own: for tests of what a command does and prints.

    Starting an interpreter and loading the package is most of the work of a small command. Signals, standard
    streams, exit and what is loaded when are tested with :class:`Command`.
    """

    def __call__(self, *arguments: str | Path, **env: str) -> Result:
        """Run a command to its end in this process; keywords are more environment."""
        started = time.monotonic()
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            TextIOWrapper(out, "utf-8", write_through=True) as stdout,
            TextIOWrapper(err, "utf-8", write_through=True) as stderr,
        ):
            with (
                mock.patch.dict(os.environ, self.environment | env, clear=True),
                mock.patch.object(tracing, "active", None),
                mock.patch.object(sys, "argv", ["modelfetch", *map(str, arguments)]),
                chdir(self.work),
                redirect_stdout(stdout),
                redirect_stderr(stderr),
            ):
                code = entry._call()
            result = Result(code, _content(stdout), _content(stderr), time.monotonic() - started)
        self._check(arguments, result)
        return result


def _content(stream: TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def together(commands: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run several commands at the same time."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda command: command(), commands))


def bend(cli: Command, code: str) -> None:
    """Let Python run some code before the command, as on a machine that is made otherwise."""
    directory = cli.home / "bent"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(code)
    cli.environment["PYTHONPATH"] = f"{directory}{os.pathsep}{cli.environment['PYTHONPATH']}"


def noted(cli: Command) -> int:
    """Bytes of an unfinished file of which a journal has the digest: those that outlive even ``kill -9``."""
    journals = [path.read_text() for path in cli.files("partial") if path.name.startswith("journal")]
    return max(map(int, re.findall(r"^(\d+) [0-9a-f]{64} ", "".join(journals), re.MULTILINE)), default=0)


def keep_all(cli: Command) -> None:
    """Let a run that ends in the middle keep every byte, also on a machine that takes long for that."""
    modules = "from modelfetch.engine import workers\nfrom modelfetch.store import partial"
    bend(cli, f"{modules}\nworkers.LEAVE_SECONDS = partial.CLOSE_SECONDS = {PATIENCE}")


def end_patiently(cli: Command) -> None:
    """Let a server that is told to end keep every byte, and report and store all ends, on any machine."""
    code = f"""
from modelfetch.engine import workers
from modelfetch.server import job_queue, job_store, serve
from modelfetch.store import partial
workers.LEAVE_SECONDS = partial.CLOSE_SECONDS = {PATIENCE}
job_queue.CANCEL_SECONDS = job_store.CLOSE_SECONDS = {PATIENCE}
serve.STOP_SECONDS = {PATIENCE:.0f}
"""
    bend(cli, code)


def assert_fails(result: Result, code: int, *words: str) -> None:
    """The contract of a failing run: its exit code, at the end one line that says what, one what to do."""
    assert "Traceback" not in result.err
    assert result.code == code, result.err
    *_, error, hint = result.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("  → ")
    for word in words:
        assert word in f"{error}\n{hint}"


def _environment(command: Command) -> dict[str, str]:
    home = command.home
    passed = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE_", "COV_"))}
    return passed | {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(modelfetch.__file__).parents[1]),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "caches"),
        "MODELFETCH_CACHE_DIR": str(command.cache),
        "MODELFETCH_CATALOG": str(command.catalog),
        "MODELFETCH_RETRY_BASE": "0.02",
        "HF_ENDPOINT": NOWHERE,
        "MODELSCOPE_ENDPOINT": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "HTTP_PROXY": NOWHERE,
    }
