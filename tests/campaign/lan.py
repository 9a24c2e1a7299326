"""Machines in a local network: real processes, each in a network namespace of its own, joined by a bridge.

``python -m tests.campaign lan [--hosts 8] [--size 64] [--only SCENARIO] [--patient]``; needs root, ip(8) and
zeroconf. With ``--patient`` no machine is left out for being late, for a test on a busy machine.

Every machine runs ``modelfetch serve --share`` and finds the others by mDNS. The origin is one more machine,
which sends a limited number of bytes per second over each connection. The scenarios print their figures:

======================  ==================================================================================
``discovery``           how many of the others each machine finds, and how long that takes
``origin-down``         one machine has the model, and the origin is down
``two``, ``all``        that many machines start at once: bytes from the origin as a multiple of the model
``parts``               two start at once, in a network as slow as the origin, without and with a skeleton
                        beside the manifest: with it, the second one gets the bytes as they come
``liar``                a peer sends wrong bytes; a CID proves the chunks: bytes of it that were received
``killed``              the only peer is killed in the middle
======================  ==================================================================================

Ends with 1 if a run failed, has other bytes, or read the origin more than allowed.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelfetch.ipfs import car
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.profiles import UNIXFS_V1_2025
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.write import manifest_toml
from tests.patience import IN_TIME
from tests.peer_server import WAIT_FOR_PEERS

MIB = 1 << 20
ORIGIN_RATE = 8e6
"""Bytes per second that the origin sends over each connection."""
PORT = 8765
HERE = Path(__file__).parents[2]
PATIENT = f"""{WAIT_FOR_PEERS}
from modelfetch.net import mdns
mdns.search.__defaults__ = ({IN_TIME},)
mdns.LEAST_SECONDS = mdns.QUIET_SECONDS = 2.0
"""
"""Code that runs before each process with ``--patient``; usually a search takes 0.8 seconds at most."""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass
class Machine:
    """One machine: a namespace, a cache, and the processes in it."""

    name: str
    number: int
    root: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def start(self, *arguments: str, log: str, **variables: str) -> subprocess.Popen[str]:
        """Run Python with arguments in this machine."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, *arguments],
            env=self.environment | variables,
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=(self.root / log).open("w"),
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def modelfetch(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return self.start("-m", "modelfetch", *arguments, log=f"{arguments[0]}.log", **variables)

    def stop(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()

    def clear(self) -> None:
        self.stop()
        shutil.rmtree(self.cache, ignore_errors=True)
        self.cache.mkdir()


class Lan:
    """The machines of the network, and the origin."""

    def __init__(self, root: Path, hosts: int, size: int, *, is_patient: bool = False) -> None:
        self.root = root
        self.code = root / "code"
        self.code.mkdir()
        (self.code / "sitecustomize.py").write_text(PATIENT if is_patient else "")
        self.tag = f"mf{os.getpid() % 100000}"
        self.machines: list[Machine] = []
        self.origin_log = root / "origin.json"
        self.contents = {
            "model.bin": random.Random(1).randbytes(size * MIB),
            "second.bin": random.Random(2).randbytes(size * MIB // 4),
            "config.json": b'{"a": 1}' * 100,
        }
        self._write_manifest()
        self._make(hosts)

    @property
    def size(self) -> int:
        return sum(map(len, self.contents.values()))

    def _write_manifest(self) -> None:
        files, nodes, root = [], b"", None
        for path, content in self.contents.items():
            cid = None
            if len(content) > MIB:
                tree = FileTree(UNIXFS_V1_2025)
                for at in range(0, len(content), MIB):
                    tree.add_chunk(content[at : at + MIB])
                built = tree.finish()
                cid, root = built.root.text, built.root
                nodes += b"".join(car.section(*node) for node in built.nodes)
            files.append(FileSpec(path, len(content), hashlib.sha256(content).hexdigest(), cid=cid))
        mirror = f"http://10.77.0.254:{PORT}/{{sha256}}"
        manifest = Manifest("m", "1", tuple(files), license="MIT", mirrors=(mirror,))
        (self.root / "catalog").mkdir()
        (self.root / "catalog" / "m.toml").write_text(manifest_toml(manifest))
        assert root is not None
        (self.root / "m.skeleton.car").write_bytes(car.header(root) + nodes)
        (self.root / "blobs").mkdir()
        for content in self.contents.values():
            (self.root / "blobs" / hashlib.sha256(content).hexdigest()).write_bytes(content)

    def _make(self, hosts: int) -> None:
        hub = f"{self.tag}-hub"
        ip("netns", "add", hub)
        ip("-n", hub, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", hub, "link", "set", "br0", "up")
        for number in [*range(1, hosts + 1), 254]:
            name = f"{self.tag}-{number}"
            ip("netns", "add", name)
            ip(*f"link add eth0 netns {name} type veth peer name v{number} netns {hub}".split())
            ip("-n", hub, "link", "set", f"v{number}", "master", "br0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            ip("-n", name, "address", "add", f"fd77::{number}/64", "dev", "eth0", "nodad")
            root = self.root / name
            root.mkdir()
            (root / "cache").mkdir()
            environment = {
                **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
                "PYTHONPATH": f"{self.code}{os.pathsep}{HERE}",
                "MODELFETCH_CACHE_DIR": str(root / "cache"),
                "MODELFETCH_CATALOG": str(self.root / "catalog"),
                "MODELFETCH_LAN_ENABLED": "1",
                "MODELFETCH_CACHE_CHUNK_MAPS": "always",
                "MODELFETCH_IPFS_GATEWAYS": "none",
                "XDG_CONFIG_HOME": str(root),
            }
            self.machines.append(Machine(name, number, root, environment))
        self.origin = self.machines.pop()

    def remove(self) -> None:
        for machine in [*self.machines, self.origin]:
            machine.stop()
            ip("netns", "delete", machine.name)
        ip("netns", "delete", f"{self.tag}-hub")

    def share(self, machines: Sequence[Machine], *more: str, **variables: str) -> None:
        """Start the servers, and wait until all of them are announced."""
        for machine in machines:
            server = machine.modelfetch(
                *("serve", "--share", "--host", "0.0.0.0", "--port", str(PORT)), *more, **variables
            )
            assert server.stdout is not None
            assert server.stdout.readline(), (machine.root / "serve.log").read_text()
        self.wait_for(len(machines))

    def wait_for(self, count: int) -> None:
        """Wait until the origin's machine finds so many peers: they are announced in the background."""
        for _ in range(20):
            out, _ = self.origin.modelfetch("sources", "--json").communicate(timeout=60)
            if sum(each["known_from"] == "network" for each in json.loads(out)["sources"]) >= count:
                return
        raise AssertionError(f"fewer than {count} peers are announced")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run the origin."""
        self.origin_log.write_text("0")
        process = self.origin.start("-m", "tests.campaign.lan_origin", str(self.root), log="origin.log")
        assert process.stdout is not None
        assert process.stdout.readline(), (self.origin.root / "origin.log").read_text()
        yield
        self.origin.stop()

    def sent(self) -> int:
        return int(self.origin_log.read_text() or "0")

    def check(self, machines: Sequence[Machine]) -> None:
        """Raise unless these machines have the model, byte by byte."""
        for machine in machines:
            for path, content in self.contents.items():
                there = (machine.cache / "models" / "m" / "1" / path).read_bytes()
                assert there == content, f"{machine.name}: {path} has other bytes"


def ensure(machines: Sequence[Machine], *more: str) -> list[tuple[float, list[dict[str, object]]]]:
    """Run ensure on some machines at once; seconds and events of each."""
    began = time.monotonic()
    runs = [machine.modelfetch("ensure", "m", "--json", *more) for machine in machines]
    results = []
    for machine, run in zip(machines, runs, strict=True):
        out, _ = run.communicate(timeout=600)
        events = [json.loads(line) for line in out.splitlines()]
        assert run.returncode == 0, (machine.name, events[-1], (machine.root / "ensure.log").read_text())
        results.append((float(events[-1]["seconds"]), events))
    print(f"  {len(machines)} runs: {time.monotonic() - began:.1f} s")
    return results


def sources(events: Sequence[dict[str, object]]) -> dict[str, str]:
    return {
        str(event["file"]): f"{event['source']} {event['host']}"
        for event in events
        if event["event"] == "file_committed"
    }


def discovery(lan: Lan) -> None:
    """Each machine finds all others."""
    lan.share(lan.machines)
    counts, times = [], []
    for machine in lan.machines:
        began = time.monotonic()
        out, _ = machine.modelfetch("sources", "--json").communicate(timeout=60)
        times.append(time.monotonic() - began)
        found = [each for each in json.loads(out)["sources"] if each["source"] == "peer"]
        assert all(each["known_from"] == "network" for each in found)
        counts.append(len(found))
    print(f"  found per machine: {counts}; `sources` in {max(times):.2f} s at most")
    assert set(counts) == {len(lan.machines) - 1}, counts


def origin_down(lan: Lan) -> None:
    """One machine has the model; the others fetch it without an origin."""
    with lan.serving():
        ensure(lan.machines[:1])
    lan.share(lan.machines[:1])
    [(seconds, events)] = ensure(lan.machines[1:2])
    print(f"  {lan.size / 1e6:.0f} MB in {seconds:.2f} s; {sources(events)}")
    assert all(source.startswith("peer ") for source in sources(events).values())
    lan.check(lan.machines[:2])


def at_once(lan: Lan, count: int, most: float, rate: str = "none") -> None:
    """Some machines start at once."""
    machines = lan.machines[:count]
    lan.share(machines, MODELFETCH_SERVE_SHARE_RATE=rate)
    with lan.serving():
        results = ensure(machines)
        time.sleep(0.3)
        ratio = lan.sent() / lan.size
    seconds = sorted(each for each, _ in results)
    direct = max(map(len, lan.contents.values())) / ORIGIN_RATE
    print(f"  origin {ratio:.3f} x the model; seconds {seconds[0]:.1f} to {seconds[-1]:.1f}")
    print(f"  (the largest file over one connection of the origin: {direct:.1f} s)")
    lan.check(machines)
    assert ratio <= most, ratio


def parts(lan: Lan) -> None:
    """Two machines start at once; one gets the bytes from the other, when all are there or as they come."""
    skeleton = lan.root / "catalog" / "m.skeleton.car"
    for name in ("without a skeleton", "with a skeleton"):
        print(f" {name}:")
        at_once(lan, 2, 1.05, "32M")
        for machine in lan.machines:
            machine.clear()
        shutil.copy(lan.root / "m.skeleton.car", skeleton)
    skeleton.unlink()


def liar(lan: Lan) -> None:
    """Of three peers, one sends wrong bytes; the CID in the manifest proves the chunks."""
    honest, client, lying = lan.machines[0], lan.machines[1], lan.machines[2]
    with lan.serving():
        ensure([honest], "--offline", "--from", str(lan.root / "blobs"))
    # Slow enough that more connections are of use, which then go to both peers.
    lan.share([honest], MODELFETCH_SERVE_SHARE_RATE="16M")
    process = lying.start("-m", "tests.campaign.lan_liar", str(lan.root), log="liar.log")
    assert process.stdout is not None
    assert process.stdout.readline(), (lying.root / "liar.log").read_text()
    lan.wait_for(2)
    [(seconds, events)] = ensure([client])
    failed = [event for event in events if event["event"] == "source_failed"]
    sent = int((lan.root / "liar.json").read_text())
    received = sum(int(str(each["fetched"])) for each in events if each["event"] == "file_committed")
    print(f"  {seconds:.2f} s; {(received - lan.size) / MIB:.2f} MiB were received beyond the model")
    print(f"  the liar sent {sent / MIB:.2f} MiB, what was under way included; {sources(events)}")
    assert sent, "it was not asked"
    print(f"  reported: {sorted({(str(each['host']), str(each['fault'])) for each in failed})}")
    lan.check([client])
    assert {each["fault"] for each in failed} <= {"hash"}


def killed(lan: Lan) -> None:
    """The only peer is killed in the middle; the origin sends the rest."""
    peer, client = lan.machines[:2]
    with lan.serving():
        ensure([peer])
        before = lan.sent()
        lan.share([peer], MODELFETCH_SERVE_SHARE_RATE="12M")
        run = client.modelfetch("ensure", "m", "--json")
        time.sleep(3.0)
        peer.stop()
        out, _ = run.communicate(timeout=600)
        time.sleep(0.3)
        rest = lan.sent() - before
    events = [json.loads(line) for line in out.splitlines()]
    assert run.returncode == 0, events[-1]
    print(
        f"  {events[-1]['seconds']} s; the origin sent {rest / lan.size:.2f} x the model; {sources(events)}"
    )
    lan.check([client])
    assert rest < lan.size


SCENARIOS = {
    "discovery": discovery,
    "origin-down": origin_down,
    "two": lambda lan: at_once(lan, 2, 1.05),
    "all": lambda lan: at_once(lan, len(lan.machines), 1.2),
    "parts": parts,
    "liar": liar,
    "killed": killed,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign lan")
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="MiB of the largest file; at most 255")
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    parser.add_argument("--patient", action="store_true", help="Leave no machine out for being late.")
    args = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        sys.exit("needs root and ip(8)")
    failures = []
    with tempfile.TemporaryDirectory() as root:
        lan = Lan(Path(root), args.hosts, args.size, is_patient=args.patient)
        try:
            for name in args.only or SCENARIOS:
                print(f"{name}:", flush=True)
                try:
                    SCENARIOS[name](lan)
                except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                    failures.append(name)
                    print(f"  FAILED: {error!r}"[:2000])
                for machine in [*lan.machines, lan.origin]:
                    machine.clear()
        finally:
            lan.remove()
    sys.exit(f"failed: {', '.join(failures)}" if failures else 0)


if __name__ == "__main__":
    main()
