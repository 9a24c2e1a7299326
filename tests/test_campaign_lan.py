"""The campaign of machines in a local network, in its smallest form; it needs root and ip(8)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]


def may_have_namespaces() -> bool:
    if os.name == "nt" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"mf-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["discovery", "two", "liar"])
def test_machines_of_a_network_help_each_other(scenario: str) -> None:
    pytest.importorskip("zeroconf")
    pytest.importorskip("uvicorn")
    if not may_have_namespaces():
        pytest.skip("no network namespaces here")
    words = f"-m tests.campaign lan --hosts 3 --size 40 --patient --only {scenario}"
    command = [sys.executable, *words.split()]
    ran = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
