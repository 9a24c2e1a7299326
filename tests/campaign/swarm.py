"""Many machines that need the same model at once: real processes, real libtorrent, one address each.

``python -m tests.campaign swarm [--nodes 8] [--size 16] [--kill 0.1] [--late 4] [--liars 1] [--tracker own]``

An origin with a limited rate serves one file; every node is ``modelfetch ensure --swarm`` with an address
127.0.x.y, limited to 2 MB/s both ways. Prints what the origin sent as a multiple of the file, and the median
and 99th percentile of the times until the file was verified. The SHA-256 of every copy is checked. Ends with
1 if a node that was not killed failed, or has other bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import FileSpec, Manifest, SwarmTorrent
from modelfetch.model.write import manifest_toml
from modelfetch.swarm.merkle import hash_pieces
from modelfetch.swarm.metainfo import build, piece_length, torrent_name
from tests.campaign.swarm_namespaces import HOST, Namespaces
from tests.campaign.swarm_origin import Origin
from tests.e2e.ports import lasting_ports
from tests.swarm.liar import Liar

HERE = Path(__file__).parents[2]
MB = 1_000_000
PORT = 6881


@dataclass
class Node:
    """One machine."""

    address: str
    cache: Path
    process: subprocess.Popen[bytes]
    log: Path
    is_killed: bool = False
    events: list[dict[str, object]] = field(default_factory=list)


class Swarm:
    """An origin, a model with a torrent, and the machines that want it."""

    def __init__(self, root: Path, args: argparse.Namespace) -> None:
        self.root = root
        self.args = args
        self.content = random.Random(7).randbytes(args.size << 20)
        host = HOST if args.lsd else "127.0.0.1"
        self.origin = Origin({"model.bin": self.content}, args.origin_rate * MB, host)
        self.nodes: list[Node] = []
        self.catalog, self.bare = root / "catalog", root / "bare"
        self.trackers: list[str] = []
        self.servers: list[subprocess.Popen[bytes]] = []
        self._write_manifest()
        if args.tracker:
            self.trackers.append(self._tracker(args.tracker))

    def _write_manifest(self) -> None:
        digest = hashlib.sha256(self.content).hexdigest()
        mirror = f"{self.origin.url}/{{path}}"
        manifest = Manifest("demo-swarm", "1", (FileSpec("model.bin", len(self.content), digest),))
        length = piece_length(len(self.content))
        parts = [self.content[at : at + length] for at in range(0, len(self.content), length)]
        metainfo = build(torrent_name(manifest), {"model.bin": hash_pieces(parts, length)}, length)
        swarm = SwarmTorrent(metainfo.infohash)
        manifest = replace(manifest, mirrors=(mirror,), swarm=swarm)
        for catalog in (self.catalog, self.bare):
            catalog.mkdir()
            (catalog / "demo-swarm.toml").write_text(manifest_toml(manifest))
        (self.catalog / "demo-swarm.torrent").write_bytes(metainfo.encode())
        self.metainfo = metainfo

    def _tracker(self, kind: str) -> str:
        """Start a tracker, and return its announce URL."""
        port = str(lasting_ports(1)[0])
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE), "HOME": str(self.root)}
        environment |= {"MODELFETCH_CATALOG": str(self.catalog)}
        words = [sys.executable, "-m", "modelfetch", "serve", "--share", "--port", port]
        words += ["--cache-dir", str(self.root / "tracker")]
        if kind == "opentracker":
            self.root.chmod(0o755)  # it gives up its rights before it reads the list
            white = self.root / "white"
            white.write_text(self.metainfo.infohash[:40] + "\n")
            words = ["opentracker", "-d", "/", "-i", "127.0.0.1", "-p", port, "-P", port, "-w", str(white)]
        log = (self.root / "tracker.log").open("wb")
        self.servers.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log))
        time.sleep(3)
        return f"http://127.0.0.1:{port}/announce"

    def close(self) -> None:
        for server in self.servers:
            server.terminate()
            server.wait(10)

    def start(self, count: int, go: str) -> list[Node]:
        first = len(self.nodes)
        for number in range(first, first + count):
            self.nodes.append(self._start(number, go))
        return self.nodes[first:]

    def _address(self, number: int) -> str:
        if self.args.lsd:
            return f"lsd:{Namespaces.address(number)}"
        return f"127.0.{1 + number // 200}.{1 + number % 200}"

    def _start(self, number: int, go: str) -> Node:
        address, cache = self._address(number), self.root / f"node{number}"
        log = self.root / f"node{number}.log"
        rate = str(self.args.rate * MB)
        peers = [f"{self._address(n)}:{PORT}" for n in self._known(number)]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(HERE),
            "HOME": str(self.root),
            "MODELFETCH_CACHE_DIR": str(cache),
            "MODELFETCH_CATALOG": str(self.bare if number % 2 and self.args.bare else self.catalog),
            "MODELFETCH_SWARM_PEERS": ",".join(peers),
            "MODELFETCH_SWARM_UPLOAD_RATE": rate,
            "MODELFETCH_SWARM_TRACKERS": ",".join(self.trackers),
            "MODELFETCH_CACHE_FSYNC": "false",
            "MODELFETCH_HISTORY_DAYS": "0",
        }
        words = ["ensure", "demo-swarm", "--swarm", "--json", "--limit-rate", rate, *self.args.option]
        prefix = Namespaces.words(number) if self.args.lsd else []
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    *prefix,
                    sys.executable,
                    "-m",
                    "tests.campaign.swarm_node",
                    address,
                    str(self.root / go),
                    *words,
                ],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return Node(address, cache, process, log)

    def _known(self, number: int) -> list[int]:
        if self.trackers or self.args.lsd:
            return []
        others = [n for n in range(self.args.nodes + self.args.late) if n != number]
        return random.Random(number).sample(others, min(len(others), self.args.known))

    def go(self, nodes: list[Node], go: str) -> float:
        while any(not (self.root / f"{go}.{node.address}").exists() for node in nodes):
            if any(node.process.poll() is not None for node in nodes):
                break
            time.sleep(0.05)
        began = time.time()
        (self.root / go).touch()
        return began

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for node in self.nodes:
            try:
                node.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.process.kill()

    def kill(self, share: float) -> None:
        chosen = random.Random(3).sample(self.nodes, int(len(self.nodes) * share + 0.5))
        for node in chosen:
            node.is_killed = True
            node.process.send_signal(signal.SIGKILL)


def seconds_of(node: Node) -> float | None:
    """Seconds from the start until the file was verified; None if it was not."""
    began: float | None = None
    verified: float | None = None
    for line in node.log.read_text(errors="replace").splitlines():
        if line.startswith("go "):
            began = float(line.split()[1])
        elif '"file_verified"' in line:
            verified = datetime.fromisoformat(json.loads(line)["at"].replace("Z", "+00:00")).timestamp()
    return None if began is None or verified is None else verified - began


def report(swarm: Swarm, nodes: list[Node], what: str) -> bool:
    """Print the figures of some nodes; whether all are right."""
    alive = [node for node in nodes if not node.is_killed]
    times = sorted(found for node in alive if (found := seconds_of(node)) is not None)
    digest = hashlib.sha256(swarm.content).hexdigest()
    wrong = failed = 0
    for node in alive:
        copies = list(node.cache.glob("models/demo-swarm/*/model.bin"))
        if not copies or node.process.returncode != 0:
            failed += 1
            print(f"  FAILED {node.address} {node.process.returncode}: {node.log.read_text()[-600:]}")
        elif hashlib.sha256(copies[0].read_bytes()).hexdigest() != digest:
            wrong += 1
    if times:
        p50, p99 = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"{what}: {len(times)} of {len(alive)} nodes, p50 {p50:.1f} s, p99 {p99:.1f} s")
    print(f"  failed {failed}, wrong {wrong}")
    return not failed and not wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--size", type=int, default=16, help="MiB")
    parser.add_argument("--origin-rate", type=float, default=4.0, help="MB/s")
    parser.add_argument("--rate", type=int, default=2, help="MB/s of a node, both ways")
    parser.add_argument("--known", type=int, default=12, help="peers in the list of a node")
    parser.add_argument("--kill", type=float, default=0.0, help="share of the nodes, in the middle")
    parser.add_argument("--late", type=int, default=0, help="nodes that join in the middle")
    parser.add_argument("--tracker", choices=["own", "opentracker"], help="instead of lists of peers")
    parser.add_argument("--lsd", action="store_true", help="multicast in namespaces; needs root")
    parser.add_argument("--bare", action="store_true", help="every second node has no torrent file")
    parser.add_argument("--liars", type=int, default=0, help="peers that send wrong bytes")
    parser.add_argument("--option", action="append", default=[], help="further word for ensure")
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    with Namespaces(args.nodes + args.late) if args.lsd else ExitStack():
        return measure(args)


def measure(args: argparse.Namespace) -> int:
    """Run the machines, and print the figures."""
    root = Path(tempfile.mkdtemp(prefix="mf-swarm-"))
    swarm = Swarm(root, args)
    nodes = swarm.start(args.nodes, "go")
    late = swarm.start(args.late, "late")
    began = swarm.go(nodes, "go")
    floor = (args.size << 20) / (args.rate * MB)
    if args.kill or args.late:
        time.sleep(max(0.0, began + 2.5 + floor - time.time()))
        swarm.kill(args.kill)
        swarm.go(late, "late")
    with ExitStack() as liars:
        for number in range(args.liars):  # each bothers several nodes
            for node in nodes[number :: args.liars][:8]:
                liar = Liar(swarm.metainfo, f"{node.address}:{PORT}", f"127.1.0.{number + 1}")
                liars.enter_context(liar)
        swarm.wait(args.timeout)
    swarm.close()
    is_right = report(swarm, nodes, f"{args.nodes} nodes")
    if late:
        is_right &= report(swarm, late, "late")
    print(f"  origin {swarm.origin.sent / len(swarm.content):.2f} x, floor {floor:.1f} s", flush=True)
    if args.keep:
        print(root)
    else:
        shutil.rmtree(root)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
