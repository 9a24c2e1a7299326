"""A command on a terminal: what it writes there, and what a person sees of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from tests.e2e.command import PATIENCE, Command
from tests.screen import Screen

ESC = "\x1b"
HIDE = f"{ESC}[?25l"
"""Hides the cursor."""
ERASURE = re.compile(rf"(?=\r{ESC}\[2K)")
"""Where a picture is taken away for the next one."""
CONTROL = re.compile(rf"{ESC}\[[0-9;?]*[A-Za-z]")
COLOR = re.compile(rf"{ESC}\[[0-9;]*[34][0-7]")


@dataclass(frozen=True)
class Shown:
    """What a command with its stderr on a terminal of 24 lines did.

    Attributes:
        code: Its exit code.
        out: What it wrote to stdout, which is a pipe.
        written: What it wrote to the terminal.
        screen: The terminal at the end.
        frames: The terminal with each picture complete.
    """

    code: int
    out: str
    written: str
    screen: Screen
    frames: list[list[str]]


def on_terminal(
    cli: Command, *arguments: str, columns: int, watch: Callable[[str], None] | None = None, **env: str
) -> Shown:
    """Run a command with its stderr on a terminal.

    Args:
        cli: The machine.
        arguments: The words of the command.
        columns: Width of the terminal.
        watch: Called with each picture that is complete, without its control sequences, while it runs.
        env: More environment.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = cli.environment | {"TERM": "xterm-256color"} | env
    with subprocess.Popen(
        cli.line(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        cwd=cli.work,
    ) as process:
        os.close(theirs)
        read = b""
        for data in _read(ours):
            read += data
            *complete, _ = re.split(ERASURE, read.decode(errors="ignore"))
            if watch is not None and complete:
                watch(CONTROL.sub("", complete[-1]))
        written = read.decode()
        out, _ = process.communicate(timeout=PATIENCE)
    os.close(ours)
    screen, frames = Screen(columns, 24), []
    for piece in re.split(ERASURE, written):
        screen.feed(piece)
        frames.append([row.rstrip() for row in screen.rows])
    return Shown(process.returncode, out.decode(), written, screen, frames)


def _read(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal, until nobody has it any more."""
    with suppress(OSError):  # how Linux tells the end
        while data := os.read(terminal, 65536):
            yield data
