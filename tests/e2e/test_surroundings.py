"""What a command is started in, and with what: little of it may be there, and most is not needed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.command import PATIENCE, Command, InProcess, Result, assert_fails, bend
from tests.origin import Origin, ServedModel, faults, model

FILES = {**{f"{n}.bin": 400_000 for n in range(3)}, "large.bin": 9_000_000}
"""The large one is worth a thread that hashes, and further connections."""

THREADS = """
import os, threading
left = int(os.environ["THREADS_LEFT"])
name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
real = getattr(threading, name)
def start(*arguments, **named):
    global left
    left -= 1
    if left < 0:
        raise RuntimeError("can't start new thread")
    return real(*arguments, **named)
setattr(threading, name, start)
"""
"""A system that has only so many threads to give."""


def without(module: str) -> str:
    return f"import sys\nsys.modules[{module!r}] = None\n"


def in_shell(cli: Command, script: str, *arguments: str) -> Result:
    """Run a command at the end of a script of the shell, as ``"$@"``."""
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *cli.line(*arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=cli.environment,
        cwd=cli.work,
        timeout=PATIENCE,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr, 0.0)


@pytest.fixture
def served(cli: Command, origin: Origin) -> ServedModel:
    return cli.serve(model(origin, FILES, catalog=cli.catalog))


GONE = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'


@pytest.mark.slow
def test_a_working_directory_that_was_removed_is_none(cli: Command, served: ServedModel) -> None:
    for arguments in (["ensure", "m"], ["ensure", "m"], ["verify", "m"], ["config", "path"]):
        result = in_shell(cli, GONE, *arguments)
        assert result.code == 0, result.err
    assert cli.has(served)
    assert_fails(in_shell(cli, GONE, "ensure", "m", "--to", "here"), 2, "'here'", "absolute path")


@pytest.mark.slow
def test_signals_that_were_ignored_from_the_start_stay_so(cli: Command, origin: Origin) -> None:
    """``nohup``; what is not ignored still ends it, with its own code."""
    origin.fault("*", faults.stall(0))
    cli.serve(model(origin, FILES, catalog=cli.catalog))
    with subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" HUP TERM; exec "$@"', "sh", *cli.line("ensure", "m")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=cli.environment,
        cwd=cli.work,
    ) as process:
        origin.until(lambda origin: bool(origin.requests), PATIENCE)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        assert process.wait(PATIENCE) == 130


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 3])
def test_a_run_gets_by_with_the_threads_that_there_are(cli: Command, served: ServedModel, left: int) -> None:
    bend(cli, THREADS)
    result = cli("ensure", "m", THREADS_LEFT=str(left))
    assert result.code == 0, result.err
    assert cli.has(served)
    assert "thread" not in result.err


@pytest.mark.slow
def test_what_cannot_do_without_a_thread_says_so(cli: Command) -> None:
    bend(cli, THREADS)
    assert_fails(cli("ensure", "demo", THREADS_LEFT="0"), 7, "no more threads", "ulimit -u")


@pytest.mark.slow
def test_a_python_without_ssl_works_on_what_is_here(cli: Command, served: ServedModel) -> None:
    cli.prepare("m")
    bend(cli, without("ssl"))
    assert cli("verify", "m").code == 0
    assert cli("ensure", "m", "--offline").code == 0
    assert cli("ensure", "m", "--force").code == 0, "over plain HTTP"
    assert_fails(cli("ensure", "m", "--force", HF_ENDPOINT="https://127.0.0.1:9"), 6, "without ssl")
    assert cli.has(served)


@pytest.mark.slow
def test_a_python_without_sqlite_remembers_nothing(cli: Command, served: ServedModel) -> None:
    bend(cli, without("sqlite3"))
    result = cli("ensure", "m")
    assert result.code == 0, result.err
    assert len(result.stderr_lines("note: ", "SQLite")) == 1
    assert cli("history").code == 0


@pytest.mark.slow
def test_few_descriptors_are_fewer_files_at_once(cli: Command, served: ServedModel) -> None:
    result = in_shell(cli, 'ulimit -n 20 && exec "$@"', "ensure", "m")
    assert result.code == 0, result.err
    assert cli.has(served)


def test_a_refused_token_is_said_to_be_refused(inside: InProcess, origin: Origin) -> None:
    inside.serve(model(origin, {"a.bin": 1000}, catalog=inside.catalog))
    origin.require_token("hf_right", wrong=401)
    result = inside("ensure", "m", HF_TOKEN="hf_expired")
    assert_fails(result, 9, "the token was refused (401)", "The token of HF_TOKEN")
    assert "hf_expired" not in result.out + result.err


@pytest.mark.slow
def test_a_cache_whose_name_is_no_text_is_used_and_printed(cli: Command, served: ServedModel) -> None:
    name = os.fsencode(cli.home) + b"/caf\xe9"
    done = subprocess.run(
        cli.line("ensure", "m"),
        capture_output=True,
        env={os.fsencode(k): os.fsencode(v) for k, v in cli.environment.items()}
        | {b"MODELFETCH_CACHE_DIR": name},
        cwd=cli.work,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(os.fsdecode(done.stdout.removesuffix(b"\n"))).is_dir()
