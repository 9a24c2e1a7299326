"""``doctor`` as a user sees it: its text at 80 columns, its JSON, and its exit code."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import pytest

from tests.e2e.command import NOWHERE, PATIENCE, Command, InProcess, assert_fails
from tests.e2e.terminal import _read as read_terminal
from tests.origin import Origin, faults, model

SECRET = "s3cr3t-canary-word"


def hub_only(origin: Origin) -> dict[str, str]:
    return {"MODELFETCH_SOURCES_ORDER": "huggingface", "HF_ENDPOINT": origin.endpoint}


def test_all_is_well(inside: InProcess, origin: Origin) -> None:
    model(origin, {"a.bin": 100_000}, catalog=inside.catalog)
    done = inside("doctor", "m", **hub_only(origin))
    assert (done.code, done.err) == (0, "")
    assert "serves a.bin (100 kB)" in done.out
    assert done.lines[-1].startswith("0 failures, 0 warnings")
    assert not inside.cache.exists(), "it stores nothing"


def test_the_failing_layer_is_named_and_the_exit_code_is_1(inside: InProcess, origin: Origin) -> None:
    model(origin, {"a.bin": 100_000}, catalog=inside.catalog)
    origin.fault("a.bin", faults.status(403))
    done = inside("doctor", "m", **hub_only(origin), HF_TOKEN=SECRET)
    host = origin.endpoint.removeprefix("http://")
    assert done.code == 1
    assert f"{host}: fails at http" in done.lines
    assert any("FAILURE  http" in line and "403" in line for line in done.lines)
    assert any("not reached: ranges, speed" in line for line in done.lines)
    assert done.lines[-1] == f"1 failure, 0 warnings: {host} at http"
    assert SECRET not in done.out + done.err


def test_json_has_every_layer_and_the_numbers(inside: InProcess) -> None:
    done = inside("doctor", "--json", MODELFETCH_SOURCES_ORDER="huggingface", HF_ENDPOINT=NOWHERE)
    found = [each for each in done.document["findings"] if each["area"] == "127.0.0.1:9"]
    assert done.code == 1
    assert [(each["check"], each["state"]) for each in found][:5] == [
        ("dns", "ok"),
        ("tcp", "failure"),
        ("proxy", "ok"),
        ("tls", "not_reached"),
        ("http", "not_reached"),
    ]
    assert {*found[0]} == {"area", "check", "state", "message", "hint"}
    assert done.document["counts"]["failure"] == 1
    assert {each["area"] for each in done.document["findings"]} == {"127.0.0.1:9", "disk", "environment"}


@pytest.mark.slow
def test_offline_contacts_no_host(inside: InProcess, origin: Origin) -> None:
    for arguments in (["--offline"], []):
        offline = {} if arguments else {"MODELFETCH_OFFLINE": "1"}
        done = inside("doctor", *arguments, **hub_only(origin), **offline)
        assert done.code == 0
        assert "offline: no host was contacted" in done.out
    assert origin.connections == 0


def test_an_unknown_model_is_an_ordinary_error(inside: InProcess) -> None:
    assert_fails(inside("doctor", "absent"), 3, "absent")


def test_a_cache_that_cannot_be_created_is_named(inside: InProcess) -> None:
    (inside.home / "file").write_text("")
    done = inside("doctor", "--offline", "--cache-dir", str(inside.home / "file" / "cache"))
    assert done.code == 1
    assert "disk: fails at write" in done.lines


@pytest.mark.slow
def test_it_is_wrapped_to_80_columns_and_colored(cli: Command, origin: Origin) -> None:
    environ = {"MODELFETCH_SOURCES_ORDER": "huggingface,modelscope", "HF_ENDPOINT": origin.endpoint}
    written = on_stdout_of_80_columns(cli, "doctor", **environ)
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line).rstrip() for line in written.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "127.0.0.1:9: fails at tcp" in lines
    assert "\x1b[1;31m" in written
    [number] = [number for number, line in enumerate(lines) if "FAILURE" in line]
    assert lines[number + 1].lstrip().startswith("→ ")
    assert lines[number + 1].index("→") == lines[number].index("connection refused")
    plain = on_stdout_of_80_columns(cli, "doctor", "--offline", NO_COLOR="1", TERM="dumb")
    assert "\x1b" not in plain


def on_stdout_of_80_columns(cli: Command, *arguments: str, **env: str) -> str:
    """What a command writes to stdout if that is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = cli.environment | {"TERM": "xterm-256color"} | env
    with subprocess.Popen(
        cli.line(*arguments), stdin=subprocess.DEVNULL, stdout=theirs, env=environment, cwd=cli.work
    ) as process:
        os.close(theirs)
        written = b"".join(read_terminal(ours)).decode()
        process.wait(PATIENCE)
    os.close(ours)
    return written
