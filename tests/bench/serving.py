"""Measures ``serve --share`` against nginx: many clients that fetch one large file at the same time.

By hand, on a quiet machine::

    python -m tests.bench.serving --clients 1,8,50 --size 1024 --rounds 3

Both servers send the same file from the page cache over loopback. The clients are processes of one program
that reads into one buffer and discards it, so they cost both servers the same. The rounds of the two servers
alternate, and the medians are compared: throughput of all clients together, and peak memory of the server
(``VmHWM``, of nginx the sum of its processes).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

MIB = 1 << 20
CLIENT = """
import socket, sys
port, path, size, discard = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "discard"
room = bytearray(1 << 20)
to = socket.create_connection(("127.0.0.1", port))
print("ready", flush=True)
sys.stdin.readline()
to.sendall(f"GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nConnection: close\\r\\n\\r\\n".encode())
got, flags = 0, socket.MSG_TRUNC if discard else 0
head = to.recv(4096)
assert head.startswith(b"HTTP/1.1 200"), head
got = len(head.partition(b"\\r\\n\\r\\n")[2])
while count := to.recv_into(room, len(room), flags):
    got += count
assert got == size, (got, size)
"""
"""With MSG_TRUNC the kernel drops the bytes of a TCP socket without copying them (tcp(7))."""


@dataclass(frozen=True)
class Serving:
    """A server that runs."""

    name: str
    port: int
    path: str
    processes: tuple[int, ...]

    def memory(self) -> float:
        """Peak memory of its processes so far, in MiB."""
        return sum(map(_peak, self.processes)) / 1024


def _peak(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def make_cache(root: Path, size: int) -> str:
    """Write a cache with one blob; returns its digest."""
    hasher = hashlib.sha256()
    temporary = root / "blob"
    with temporary.open("wb") as file:
        for _ in range(size // MIB):
            block = os.urandom(MIB)
            hasher.update(block)
            file.write(block)
    digest = hasher.hexdigest()
    blob = root / "cache" / "blobs" / "sha256" / digest[:2] / digest
    blob.parent.mkdir(parents=True)
    temporary.rename(blob)
    return digest


@contextmanager
def ours(root: Path, digest: str) -> Iterator[Serving]:
    """Run our server."""
    environment = os.environ | {"MODELFETCH_SERVE_SHARE_CLIENTS": "200", "HOME": str(root)}
    command = [sys.executable, "-m", "modelfetch", "serve", "--share", "--port", "0"]
    running = subprocess.Popen(
        [*command, "--cache-dir", str(root / "cache"), "--json"],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert running.stdout is not None
    try:
        port = urlsplit(json.loads(running.stdout.readline())["url"]).port
        assert port is not None
        path = f"/blobs/sha256/{digest}"
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request(
            "GET", path, headers={"Range": "bytes=0-0"}
        )  # hashes the file, which has no receipt
        assert connection.getresponse().read()
        connection.close()
        yield Serving("modelfetch", port, path, (running.pid,))
    finally:
        running.terminate()
        running.wait()


@contextmanager
def nginx(root: Path, digest: str, program: str) -> Iterator[Serving]:
    """Run nginx with one worker for each processor, and with sendfile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = " ".join(
        f"{kind}_temp_path {root}/temp-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (root / "nginx.conf").write_text(
        f"daemon off; pid {root}/nginx.pid; error_log {root}/nginx.log; worker_processes auto;"
        + ("user root;" if os.geteuid() == 0 else "")
        + "events { worker_connections 4096; }"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}"
        f"server {{ listen 127.0.0.1:{port} backlog=512; location / {{ root {root / 'cache'}; }} }} }}",
        "utf-8",
    )
    running = subprocess.Popen([program, "-p", str(root), "-c", str(root / "nginx.conf")])
    try:
        _until_listening(port)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text("utf-8").split()
        path = f"/blobs/sha256/{digest[:2]}/{digest}"
        yield Serving("nginx", port, path, (running.pid, *map(int, children)))
    finally:
        running.terminate()
        running.wait()


def _until_listening(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("nginx does not listen")


def pull(server: Serving, clients: int, size: int, mode: str) -> float:
    """Let clients fetch the file at the same time; returns MiB per second of all together."""
    command = [sys.executable, "-c", CLIENT, str(server.port), server.path, str(size), mode]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(clients)
    ]
    for client in running:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
    began = time.monotonic()
    for client in running:
        assert client.stdin is not None
        client.stdin.write("\n")
        client.stdin.flush()
    failed = [client for client in running if client.wait()]
    took = time.monotonic() - began
    assert not failed, f"{len(failed)} clients failed at {server.name}"
    return clients * size / MIB / took


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clients", default="1,8,50")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--mode", choices=["copy", "discard"], default="copy", help="what clients do with bytes"
    )
    parser.add_argument("--in", dest="place", type=Path, default=None, help="directory for the file")
    options = parser.parse_args()
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    size = options.size * MIB
    with tempfile.TemporaryDirectory(dir=options.place) as directory:
        root = Path(directory)
        digest = make_cache(root, size)
        print("clients  modelfetch MiB/s  nginx MiB/s  ratio  modelfetch MiB  nginx MiB")
        for clients in map(int, options.clients.split(",")):
            speeds: dict[str, list[float]] = {"modelfetch": [], "nginx": []}
            memory: dict[str, list[float]] = {"modelfetch": [], "nginx": []}
            for _ in range(options.rounds):
                with nginx(root, digest, program) as theirs, ours(root, digest) as own:
                    for server in (theirs, own):
                        speeds[server.name].append(pull(server, clients, size, options.mode))
                        memory[server.name].append(server.memory())
            fast = {name: statistics.median(found) for name, found in speeds.items()}
            peak = {name: max(found) for name, found in memory.items()}
            print(
                f"{clients:7}  {fast['modelfetch']:16.0f}  {fast['nginx']:11.0f}"
                f"  {fast['modelfetch'] / fast['nginx']:5.2f}"
                f"  {peak['modelfetch']:14.0f}  {peak['nginx']:9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
