"""From the process to a command and back: signals, exit codes, and no traceback but for bugs."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import Never

import typer

from modelfetch import __version__
from modelfetch.cli.app import app
from modelfetch.cli.talk import say
from modelfetch.errors import ManifestError, ModelfetchError
from modelfetch.model.text import sanitise
from modelfetch.reporters import failure_lines, symbols_for

EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_PIPE = 141
"""128 + SIGPIPE: what a shell reports of a program whose reader went away."""

# Base of all usage errors. typer has a click of its own from 0.26 on, so it is found and not imported.
_ClickException: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


def run() -> Never:
    """Run the command line of this process, and exit."""
    _signals()
    sys.exit(_call())


def _call() -> int:
    try:
        code = app(prog_name="modelfetch", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except ModelfetchError as error:
        return _expected(error)
    except BrokenPipeError:
        return _unread()
    except SystemExit as leaving:  # typer ends the process itself when it meets a broken pipe first
        return _unread() if isinstance(leaving.__context__, BrokenPipeError) else int(str(leaving.code or 0))
    except KeyboardInterrupt as interrupt:
        return int(getattr(interrupt, "exit_code", 130))
    except typer.Abort:
        return 130
    except _ClickException as error:
        return _misused(error)
    except Exception:
        return _bug()


def _unread() -> int:
    """End quietly: nobody reads stdout any more. The interpreter flushes it once more on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return EXIT_PIPE


def _expected(error: ModelfetchError) -> int:
    """Say what happened and what to do next."""
    if isinstance(error, ManifestError):
        for fault in error.faults:
            say(f"{error.where}: {fault}")
    _say_error(error.message, error.hint)
    return error.exit_code


def _misused(error: Exception) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if not message:  # the help was all there was to say
        return EXIT_USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "modelfetch"
    _say_error(message, f"{command} --help")
    return EXIT_USAGE


def _bug() -> int:
    for line in traceback.format_exc().splitlines():
        say(sanitise(line))
    _say_error(
        f"this is a bug in modelfetch {__version__}",
        "Please report it with the lines above and the command you ran; look through them for secrets first.",
    )
    return EXIT_BUG


def _say_error(message: str, hint: str) -> None:
    for line in failure_lines(message, hint, symbols_for(sys.stderr.encoding)):
        say(line)


def _signals() -> None:
    """SIGTERM and SIGHUP end a run like Ctrl-C does, with their own exit codes."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _end)


def _end(number: int, frame: FrameType | None) -> Never:  # noqa: ARG001 - the signature signals want
    from modelfetch.engine.stream import Hangup, Terminated

    raise Terminated if number == signal.SIGTERM else Hangup
