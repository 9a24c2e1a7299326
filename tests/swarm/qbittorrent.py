"""qBittorrent without a window, driven by its web API: a client of version 2 that is not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from modelfetch.swarm.metainfo import Metainfo
from tests.e2e.ports import lasting_ports
from tests.patience import HELD
from tests.swarm.nodes import address

PROGRAM: Final = shutil.which("qbittorrent-nox")

_CONFIGURATION: Final = """
[LegalNotice]
Accepted=true

[BitTorrent]
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\Port={port}
Session\\InterfaceAddress={address}
Session\\QueueingSystemEnabled=false

[Network]
PortForwardingEnabled=false

[Preferences]
WebUI\\Address=127.0.0.1
WebUI\\LocalHostAuth=false
WebUI\\CSRFProtection=false
"""


class QBittorrent:
    """A running client with a profile of its own. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        assert PROGRAM is not None
        self.downloads = directory / "downloads"
        self.downloads.mkdir(parents=True)
        host = address()
        port, self._port = lasting_ports(2)
        self.endpoint = f"{host}:{port}"
        configuration = directory / "qBittorrent" / "config" / "qBittorrent.conf"
        configuration.parent.mkdir(parents=True)
        configuration.write_text(_CONFIGURATION.format(port=port, address=host))
        self._log = (directory / "log").open("wb")
        self._process = subprocess.Popen(
            [PROGRAM, f"--profile={directory}", f"--webui-port={self._port}"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        self.until(lambda _: self._ask("app/version"))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def add(self, metainfo: Metainfo) -> None:
        """Add a torrent by its file; what lies in ``downloads`` is checked."""
        boundary = uuid.uuid4().hex
        parts = [
            self._part(boundary, 'name="savepath"', str(self.downloads).encode()),
            self._part(boundary, 'name="torrents"; filename="x.torrent"', metainfo.encode()),
            f"--{boundary}--\r\n".encode(),
        ]
        kind = f"multipart/form-data; boundary={boundary}"
        assert self._ask("torrents/add", b"".join(parts), kind) == b"Ok."

    def add_magnet(self, link: str) -> None:
        """Add a torrent by its link."""
        fields = {"urls": link, "savepath": str(self.downloads)}
        assert self._ask("torrents/add", urllib.parse.urlencode(fields).encode()) == b"Ok."

    def connect(self, metainfo: Metainfo, peer: str) -> None:
        """Connect to a peer."""
        fields = {"hashes": metainfo.infohash[:40], "peers": peer}
        self._ask("torrents/addPeers", urllib.parse.urlencode(fields).encode())

    @property
    def torrents(self) -> list[dict[str, Any]]:
        """What it says about its torrents."""
        found: list[dict[str, Any]] = json.loads(self._ask("torrents/info") or b"[]")
        return found

    def until(self, condition: Callable[[list[dict[str, Any]]], object]) -> None:
        """Wait until something is so of what it says about its torrents; nothing, if it does not answer."""
        deadline = time.monotonic() + HELD
        while not condition(found := self.torrents):
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    def until_complete(self) -> None:
        """Wait until it has all of its torrent."""
        self.until(lambda torrents: torrents and torrents[0]["progress"] == 1)

    def _ask(self, method: str, data: bytes | None = None, kind: str = "") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/api/v2/{method}", data)
        if kind:
            request.add_header("Content-Type", kind)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                content: bytes = answer.read()
        except OSError:
            return b""
        return content

    @staticmethod
    def _part(boundary: str, name: str, data: bytes) -> bytes:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\n\r\n"
        return head.encode() + data + b"\r\n"
