"""Nodes find each other by a tracker that is not ours, or by multicast."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from urllib.parse import parse_qs, quote, urlsplit
from urllib.request import urlopen

import pytest

from modelfetch.swarm import bencode
from modelfetch.swarm.child_process import command
from modelfetch.swarm.client import EngineClient
from modelfetch.swarm.engine import Event, Mode, Ready, Status, TorrentSpec
from tests.e2e.ports import lasting_ports
from tests.patience import HELD, IN_TIME
from tests.swarm.nodes import Node, metainfo_of, some_files, until, written

pytest.importorskip("libtorrent")

FILES = some_files(1 << 20)
METAINFO = metainfo_of(FILES)
IP = shutil.which("ip")
OPENTRACKER = shutil.which("opentracker")


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[int]:
    """A running tracker; its port is for TCP and UDP."""
    assert OPENTRACKER is not None
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    [port] = lasting_ports(1)
    with tempfile.TemporaryDirectory() as name:
        allowed = Path(name, "allowed")
        allowed.write_text(METAINFO.infohash[:40] + "\n")
        Path(name).chmod(0o755)  # it is read by that user
        words = [
            "-i",
            "127.0.0.1",
            "-p",
            str(port),
            "-P",
            str(port),
            "-d",
            "/",
            "-u",
            user,
            "-w",
            str(allowed),
        ]
        with subprocess.Popen([OPENTRACKER, *words]) as running:
            until(lambda: _listens(port))
            yield port
            running.kill()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), IN_TIME):
        return True
    return False


def _is_known(tracker: int) -> bool:
    """Whether a tracker knows a node that has or wants the torrent."""
    infohash = quote(bytes.fromhex(METAINFO.infohash[:40]))
    with urlopen(f"http://127.0.0.1:{tracker}/scrape?info_hash={infohash}", timeout=IN_TIME) as answer:
        return re.search(rb"completei[1-9]", answer.read()) is not None


@pytest.mark.slow
@pytest.mark.skipif(OPENTRACKER is None, reason="needs opentracker")
@pytest.mark.parametrize("scheme", ["http", "udp"])
def test_nodes_meet_by_a_tracker(tracker: int, tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{tracker}/announce"
    seed, leech = Node(tmp_path), Node(tmp_path)
    try:
        spec = TorrentSpec(METAINFO.infohash, METAINFO.encode(), written(tmp_path, FILES), Mode.SEED, (url,))
        seed.engine.add(spec)
        seed.until(lambda event: isinstance(event, Ready))
        # The interval of the tracker is half an hour: who asks before the seed is announced finds nobody.
        until(lambda: _is_known(tracker))
        leech.engine.add(
            TorrentSpec(METAINFO.infohash, METAINFO.encode(), leech.paths(METAINFO), trackers=(url,))
        )
        leech.until_complete(METAINFO, HELD)
        assert leech.content(METAINFO) == FILES
    finally:
        for each in (seed, leech):
            each.engine.close()


@pytest.mark.slow
def test_a_node_that_ends_tells_the_tracker(tmp_path: Path) -> None:
    events: SimpleQueue[str] = SimpleQueue()

    class Announced(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = bencode.encode({"interval": 1800, "peers": b""})
            with suppress(ConnectionError):  # a node that ends waits a second for the answer
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                # libtorrent says that it ends only to a tracker whose answer it has read: then it hangs up.
                self.rfile.read(1)
            [event] = parse_qs(urlsplit(self.path).query).get("event", [""])
            events.put(event)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Announced) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        node = Node(tmp_path)
        url = f"http://127.0.0.1:{server.server_port}/announce"
        node.engine.add(
            TorrentSpec(METAINFO.infohash, METAINFO.encode(), node.paths(METAINFO), trackers=(url,))
        )
        assert events.get(timeout=IN_TIME) == "started"
        node.engine.close()
        assert events.get(timeout=IN_TIME) == "stopped"
        server.shutdown()


@pytest.fixture
def networks() -> Iterator[tuple[str, str]]:
    """Two machines on a wire: network namespaces, which need root."""
    names = (f"mf{os.getpid()}a", f"mf{os.getpid()}b")
    if IP is None or os.geteuid() != 0 or not all(_ip("netns", "add", name) for name in names):
        pytest.skip("needs network namespaces")
    _ip("link", "add", "wire", "netns", names[0], "type", "veth", "peer", "name", "wire", "netns", names[1])
    for number, name in enumerate(names, start=1):
        _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "wire")
        for device in ("lo", "wire"):
            _ip("-n", name, "link", "set", device, "up")
    yield names
    for name in names:
        _ip("netns", "del", name)


def _ip(*words: str) -> bool:
    assert IP is not None
    return subprocess.run([IP, *words], check=False, capture_output=True).returncode == 0


@pytest.mark.slow
def test_nodes_meet_by_multicast(networks: tuple[str, str], tmp_path: Path) -> None:
    every = {"discovers_lan": True, "listen": ("0.0.0.0", "::")}
    seed, leech = (
        Node(tmp_path, EngineClient([f"{IP}", "netns", "exec", name, *command()]), **every)
        for name in networks
    )
    try:
        seed.seed(METAINFO, written(tmp_path, FILES))
        leech.leech(METAINFO)
        leech.until_complete(METAINFO, HELD)
        assert leech.content(METAINFO) == FILES
    finally:
        for each in (seed, leech):
            each.engine.close()


def knows_no_machine_that_lacks_a_piece(event: Event) -> bool:
    """Two seeds may have hung up already."""
    return isinstance(event, Status) and all(peer.is_seed for peer in event.peers)


@pytest.mark.slow
def test_a_seed_is_found_again_by_a_machine_that_had_the_model(
    networks: tuple[str, str], tmp_path: Path
) -> None:
    # A seed does not connect to an address that was a seed. So it is the machine that lost its files that has
    # to hear of the seed; the third time, as each machine has one address of IPv4 and one of IPv6.
    every = {"discovers_lan": True, "listen": ("0.0.0.0", "::")}

    def node(name: str) -> Node:
        return Node(tmp_path, EngineClient([f"{IP}", "netns", "exec", name, *command()]), **every)

    seed = node(networks[0])
    try:
        seed.seed(METAINFO, written(tmp_path, FILES))
        for _ in range(3):
            leech = node(networks[1])
            try:
                leech.leech(METAINFO)
                leech.until_complete(METAINFO, HELD)
                seed.engine.events(0)  # what it said before the two were connected
                seed.until(knows_no_machine_that_lacks_a_piece)
            finally:
                leech.engine.close()
    finally:
        seed.engine.close()
