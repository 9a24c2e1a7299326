"""What a start loads, and in which order: nothing that the first request does not need goes before it."""

from __future__ import annotations

import os
import pty
import re
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.e2e.command import PATIENCE, Command
from tests.origin import Origin, model

IMPORT = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)\s*$", re.MULTILINE)
"""A line of the interpreter's about a module that was imported."""
CONNECTS = "-connects-"
"""Stands among the modules where the command makes its first connection."""
HOOK = f"""
import os, sys
line = b"\\nimport time: 0 | 0 | {CONNECTS}\\n"
sys.addaudithook(lambda event, _: event == "socket.connect" and os.write(2, line))
"""
"""Runs before everything else, and writes where the interpreter writes: so in the order of things."""


class Started:
    """A command with its stderr on a terminal, that tells of each module it imports."""

    def __init__(self, cli: Command, *arguments: str) -> None:
        self._terminal, theirs = pty.openpty()
        self._written = b""
        hook = cli.home / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        environment = cli.environment | {"TERM": "xterm-256color", "PYTHONPROFILEIMPORTTIME": "1"}
        environment["PYTHONPATH"] = str(hook)
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
        """Read what it writes until it has imported a module, and let it get no further."""
        while module not in self.imported:
            assert select.select([self._terminal], [], [], PATIENCE)[0], f"waits without {module}"
            assert self._read(), f"ended without {module}"

    def _read(self) -> bool:
        """Read some; says whether there may be more."""
        try:
            self._written += os.read(self._terminal, 65536)
        except OSError:  # how Linux tells that nobody has the terminal any more
            return False
        return True

    @property
    def imported(self) -> list[str]:
        """The modules imported so far, in their order."""
        return IMPORT.findall(self._written.decode("utf-8", "replace").replace("\r", ""))

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


def packages(imported: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in imported}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_first_request_waits_for_nothing_that_it_does_not_need(cli: Command, scheme: str) -> None:
    with listening(cli, scheme), closing(Started(cli, "ensure", "m")) as started:
        started.read_until_it_imports(CONNECTS)
        imported = started.imported[: started.imported.index(CONNECTS)]
    assert "httpx" in imported
    assert (
        packages(imported) & {"rich", "typer", "click", "sqlite3", "truststore", "asyncio", "tomli_w"}
        == set()
    )
    ours = {name for name in imported if name.startswith("modelfetch.")}
    assert not {"modelfetch.history", "modelfetch.settings.edit", "modelfetch.reporters.bars"} & ours


def test_bars_and_history_are_loaded_after_it(cli: Command, origin: Origin) -> None:
    served = cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    with closing(Started(cli, "ensure", served.name)) as started:
        started.read_until_it_imports("rich.live")
        assert "httpx" in started.imported
        started.read_until_it_imports("sqlite3")


def test_bars_do_not_wait_for_a_server_that_does_not_answer(cli: Command) -> None:
    with listening(cli, "http"), closing(Started(cli, "ensure", "m")) as started:
        started.read_until_it_imports("rich.live")
