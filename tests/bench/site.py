"""What serves the files: nginx on loopback, its connections held back by the kernel where a profile says so.

nginx is handed listening sockets of ours, in the way it hands its own to the next binary. A pacing rate set
on a listening socket holds for every connection accepted from it, from the first byte on. nginx's own
``limit_rate`` sends a burst in the first second of every response, which flatters whoever asks for many small
ranges.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.bench.isolation import Isolation
from tests.bench.material import Material
from tests.bench.nginx import REVISION, configuration, tree
from tests.bench.pause import Pause

Profile = Literal["plain", "tls", "paced", "delayed", "ear"]
"""How files are served; ``ear`` only takes connections, and nobody answers."""

RATE = 20 << 20
"""Bytes per second of one connection of the profile ``paced``."""
DELAY = 0.05
"""Seconds before each response of the profiles ``paced`` and ``delayed``."""

_SO_MAX_PACING_RATE = 47  # asm-generic/socket.h; not in the socket module
_START_SECONDS = 5.0


class Site:
    """The server; a context manager that serves while it is open.

    Args:
        nginx: The program.
        openssl: The program that makes the certificate; None leaves TLS out.
        work: A directory of our own.
        materials: What is served, under ``/files/<name>/`` and as ``bench/<name>`` of a Hub.
        isolation: Where it listens, and its processors.
    """

    def __init__(
        self,
        nginx: str,
        openssl: str | None,
        work: Path,
        materials: Sequence[Material],
        isolation: Isolation,
    ) -> None:
        self.isolation = isolation
        self._nginx, self._openssl, self._work, self._materials = nginx, openssl, work, materials
        self._stack = ExitStack()
        self._sockets: dict[Profile, socket.socket] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.certificate = work / "certificate.pem"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(Pause(self._work / "pause.sock", DELAY))
            with self.isolation.listening():
                for profile in ("plain", "tls", "paced", "delayed", "ear"):
                    rate = RATE if profile == "paced" else None
                    self._sockets[profile] = stack.enter_context(_listen(self.isolation.host, rate))
            self._configure()
            stack.callback(self._stop)
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def ear(self) -> socket.socket:
        """The socket of the profile ``ear``."""
        return self._sockets["ear"]

    def origin(self, profile: Profile, *, secure: bool = False) -> str:
        """Scheme, host and port of a profile."""
        scheme = "https" if secure or profile == "tls" else "http"
        return f"{scheme}://{self.isolation.host}:{self._sockets[profile].getsockname()[1]}"

    def cpu(self) -> float:
        """CPU seconds the server's processes have used so far."""
        if self._process is None:
            return 0.0
        return sum(_cpu(pid) for pid in (self._process.pid, *_children(self._process.pid)))

    def _configure(self) -> None:
        if self._openssl:
            _make_certificate(self._openssl, self._work, self.isolation.host)
        for material in self._materials:
            (self._work / f"{material.name}.tree").write_text(tree(material), "utf-8")
        ports = {str(name): each.getsockname()[1] for name, each in self._sockets.items() if name != "ear"}
        where = {name: f"{self.isolation.host}:{port}" for name, port in ports.items()}
        text = configuration(self._work, self._materials, where, secure=self._openssl is not None)
        (self._work / "nginx.conf").write_text(text, "utf-8")

    def _start(self) -> None:
        handed = [each.fileno() for name, each in self._sockets.items() if name != "ear"]
        if self._openssl is None:
            handed.remove(self._sockets["tls"].fileno())
        environment = {**os.environ, "NGINX": "".join(f"{number};" for number in handed)}
        command = [self._nginx, "-p", str(self._work), "-c", str(self._work / "nginx.conf")]
        with (self._work / "nginx.err").open("wb") as errors:
            self._process = subprocess.Popen(command, pass_fds=handed, env=environment, stderr=errors)
        os.sched_setaffinity(self._process.pid, self.isolation.server)
        self._await()
        for child in _children(self._process.pid):  # those that it started before it was bound
            os.sched_setaffinity(child, self.isolation.server)

    def _await(self) -> None:
        """Wait until a file is served."""
        assert self._process is not None
        until = time.monotonic() + _START_SECONDS
        address = self._sockets["plain"].getsockname()
        while self._process.poll() is None and time.monotonic() < until:
            with socket.create_connection(address, 1) as probe:
                probe.settimeout(1)
                probe.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
                if probe.recv(12).endswith(b"204"):
                    return
        raise SystemExit(f"nginx does not serve: see {self._work / 'nginx.err'}")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@dataclass(frozen=True, slots=True)
class Address:
    """Where one material is found in one profile.

    Attributes:
        files: URL of the directory of the files, without the last slash.
        hub: Endpoint for Hugging Face clients.
        repository: Name of the repository there.
        revision: Its commit.
    """

    files: str
    hub: str
    repository: str
    revision: str = REVISION


def address(site: Site, profile: Profile, material: Material, *, secure: bool = False) -> Address:
    """Where a material is found."""
    origin = site.origin(profile, secure=secure)
    return Address(f"{origin}/files/{material.name}", origin, f"bench/{material.name}")


def _listen(host: str, rate: int | None) -> socket.socket:
    ear = socket.socket()
    ear.bind((host, 0))
    if rate is not None:
        ear.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, rate)
    ear.listen(1024)
    ear.setblocking(False)  # nginx relies on it, and does not see to it for sockets it was handed
    ear.set_inheritable(True)
    return ear


def _make_certificate(openssl: str, work: Path, host: str) -> None:
    """A certificate that is its own authority, for the address of the server."""
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(work / "key.pem"), "-out", str(work / "certificate.pem"), "-days", "30"),
            *("-subj", f"/CN={host}", "-addext", f"subjectAltName=IP:{host}"),
        ],
        check=True,
        capture_output=True,
    )


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in text.split()]


def _cpu(pid: int) -> float:
    """Seconds on a CPU, to the nanosecond, of a process of one thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e9
