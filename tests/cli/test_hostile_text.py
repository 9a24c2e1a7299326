"""A hostile manifest and a hostile server: no command writes a line that a CI system would obey."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.origin import Origin, faults

COMMAND = re.compile(r"##\w*\[|^\s*::", re.MULTILINE)
EVIL = "::error::x ##vso[task.complete]y ##[command]z ##teamcity[message text='t']"
DATA = b"x" * 1000
MANIFEST = f"""
schema = 1
name = "m"
version = "1"
title = "{EVIL}"
license = "{EVIL}"
homepage = "https://x.example/"
[mirrors]
urls = ["MIRROR"]
[[files]]
path = "a.bin"
size = {len(DATA)}
sha256 = "{hashlib.sha256(DATA).hexdigest()}"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return kept | {
        "HOME": str(tmp_path),
        "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
        "MODELFETCH_CATALOG": str(tmp_path / "catalog"),
        "MODELFETCH_RETRY_ATTEMPTS": "1",
    }


def said(environment: dict[str, str], *arguments: str) -> str:
    """All that a command writes, one stream after the other."""
    command = [sys.executable, "-m", "modelfetch", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return f"{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_nothing_from_outside_is_a_command(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "catalog").mkdir()
    with Origin() as origin:
        manifest = MANIFEST.replace("MIRROR", origin.mirror)
        (tmp_path / "catalog" / "m.toml").write_text(manifest, "utf-8")
        origin.add("a.bin", b"y" * 7)
        origin.fault("*", faults.header("Content-Type", EVIL))
        told = {
            arguments: said(environment, *arguments)
            for arguments in [
                ("ensure", "m"),
                ("ensure", "m", "--json"),
                ("log",),
                ("metrics", "--csv"),
                ("show", "m"),
                ("show", "m", "--json"),
                ("list",),
                ("plan", "m"),
            ]
        }
    assert {arguments: COMMAND.findall(text) for arguments, text in told.items()} == {key: [] for key in told}
    assert "task.complete" in told["show", "m"]
    assert "task.complete" in told["ensure", "m"]
    assert "(" not in told["ensure", "m"].partition("has 7 bytes instead of 1000")[2].partition("\n")[0]
    assert json.loads(told["show", "m", "--json"].strip())["title"] == EVIL
