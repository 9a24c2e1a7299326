"""What a start loads, and in which order: nothing that the first request does not need goes before it."""

from __future__ import annotations

import os
import pty
import re
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from tests.e2e.command import PATIENCE, Command
from tests.origin import Origin, faults, model

TOLD = re.compile(r"^-- (\w+) (\S+) (\S+)\s*$", re.MULTILINE)
"""What the hook tells: that a thread imports a module, that one starts a worker, that one connects."""
HOOK = r"""
import os, sys, _thread
main = _thread.get_ident()
def tell(what, name):
    thread = _thread.get_ident()
    os.write(2, f"\n-- {what} {'main' if thread == main else thread} {name}\n".encode())
def hook(event, arguments):
    if event == "import":
        tell("imports", arguments[0])
    elif event == "socket.connect":
        tell("connects", "-")
def telling(start):
    def told(function, *rest, **more):
        tell("starts", getattr(getattr(function, "__self__", None), "name", "-"))
        return start(function, *rest, **more)
    return told
for name in ("start_new_thread", "start_joinable_thread"):  # the latter from Python 3.13 on
    if hasattr(_thread, name):
        setattr(_thread, name, telling(getattr(_thread, name)))
sys.addaudithook(hook)
"""
"""Runs before everything else in the command, and writes everything in the order in which it happens."""


class Started:
    """A command with its stderr on a terminal, that tells of each module it imports."""

    def __init__(self, cli: Command, *arguments: str) -> None:
        self._terminal, theirs = pty.openpty()
        self._written = b""
        hook = cli.home / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        environment = cli.environment | {"TERM": "xterm-256color", "PYTHONPATH": str(hook)}
        self.process = subprocess.Popen(
            cli.line(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=environment,
            cwd=cli.work,
        )
        os.close(theirs)

    def read_until_it_imports(self, module: str) -> None:
        """Read what it writes until it imports a module, and let it get no further."""
        self._read_until(lambda: module in self.imported, module)

    def read_until_it_connects(self) -> set[str]:
        """Read until the first connection; the packages that it waited for.

        They are those imported before the workers were started, and by the worker that connects. What another
        thread imports at that moment holds nobody up, and may come before or after.
        """
        self._read_until(lambda: self._told("connects") != [], "connecting")
        lines = self._lines
        [(connecting, _), *_] = self._told("connects")
        started = next(n for n, line in enumerate(lines) if line[0] == "starts" and "modelfetch-" in line[2])
        ended = next(n for n, line in enumerate(lines) if line[0] == "connects")
        waited = lines[:started] + [line for line in lines[started:ended] if line[1] == connecting]
        names = [name for _, _, name in waited]
        return {name if name.startswith("modelfetch.") else name.partition(".")[0] for name in names}

    def _read_until(self, is_so: Callable[[], bool], what: str) -> None:
        while not is_so():
            assert select.select([self._terminal], [], [], PATIENCE)[0], f"waits without {what}"
            assert self._read(), f"ended without {what}"

    def _read(self) -> bool:
        """Read some; says whether there may be more."""
        try:
            self._written += os.read(self._terminal, 65536)
        except OSError:  # how Linux tells that nobody has the terminal any more
            return False
        return True

    @property
    def _lines(self) -> list[tuple[str, str, str]]:
        """What was told so far: what happened, in which thread, and a name."""
        return TOLD.findall(self._written.decode("utf-8", "replace").replace("\r", ""))

    def _told(self, what: str) -> list[tuple[str, str]]:
        return [(thread, name) for kind, thread, name in self._lines if kind == what]

    @property
    def imported(self) -> list[str]:
        """The modules imported so far, in their order."""
        return [name for _, name in self._told("imports")]

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@contextmanager
def listening(cli: Command, scheme: str) -> Iterator[None]:
    """An address that a model ``m`` has; connections to it are not answered."""
    with socket.create_server(("127.0.0.1", 0)) as ear:
        cli.catalog.mkdir(exist_ok=True)
        (cli.catalog / "m.toml").write_text(
            'schema = 1\nname = "m"\nversion = "1"\n[[files]]\npath = "a.bin"\nsize = 1\n'
            f'sha256 = "{"0" * 64}"\nurls = ["{scheme}://127.0.0.1:{ear.getsockname()[1]}/a.bin"]\n',
            "utf-8",
        )
        yield


@pytest.mark.slow
@pytest.mark.lean
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_first_request_waits_for_nothing_that_it_does_not_need(cli: Command, scheme: str) -> None:
    with listening(cli, scheme), closing(Started(cli, "ensure", "m")) as started:
        waited = started.read_until_it_connects()
    assert "modelfetch.net.http11" in waited
    assert scheme == "https" or "ssl" not in waited
    absent = {"httpx", "httpcore", "h11", "rich", "typer", "click", "sqlite3", "truststore", "asyncio"}
    assert not {*absent, "tomli_w"} & waited
    assert not {"modelfetch.history", "modelfetch.settings.edit", "modelfetch.reporters.bars"} & waited
    assert not {"modelfetch.net.exchange_trace", "modelfetch.settings.secret_values"} & waited


@pytest.mark.lean
def test_bars_and_history_are_loaded_after_it(cli: Command, origin: Origin) -> None:
    served = cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    release = threading.Event()
    origin.fault("a.bin", faults.stall(until=release))  # else all might be over before there were bars
    with closing(Started(cli, "ensure", served.name)) as started:
        started.read_until_it_imports("rich.live")
        assert "modelfetch.net.http11" in started.imported
        release.set()
        started.read_until_it_imports("sqlite3")


@pytest.mark.slow
def test_bars_do_not_wait_for_a_server_that_does_not_answer(cli: Command) -> None:
    with listening(cli, "http"), closing(Started(cli, "ensure", "m")) as started:
        started.read_until_it_imports("rich.live")
