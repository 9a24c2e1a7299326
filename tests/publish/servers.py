"""Servers on loopback that models are published on: a kubo node, a pinning service, and Pinata.

What goes wrong is an attribute that a test sets: a status in place of an answer, a connection that is cut
after some bytes of a request, an answer that does not come, another CID than that of the model.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from modelfetch.ipfs import dag_pb
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import RAW, Cid
from modelfetch.ipfs.directory_builder import build_tree
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.profiles import UNIXFS_V1_2025, Profile
from tests.loopback import LoopbackHandler, LoopbackServer
from tests.patience import HELD

ADDRESSES = [
    "/ip4/127.0.0.1/tcp/4001",
    "/ip6/::1/tcp/4001",
    "/ip4/192.168.1.2/tcp/4001",
    "/ip4/1.1.1.1/tcp/4001",
    7,
]
"""What the node states; only one of them is of use to others."""
OTHER_CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
"""That of "hello world"."""


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    size: int = 0
    """Bytes of the content that were received."""


@dataclass
class Fault:
    """What happens to the next request whose path contains a part."""

    part: str
    status: int = 0
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """The connection ends after so many bytes of the content, without an answer."""
    is_lost: bool = False
    """The request is carried out, and the connection ends without an answer."""
    is_silent: bool = False
    """No answer comes until the client leaves."""


class PublishServer(LoopbackServer):
    """A server on a loopback port. Use it as a context manager."""

    token = ""
    """The bearer token that each request must have; empty for none."""

    def __init__(self) -> None:
        super().__init__(_handler_of(self))
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.leave = threading.Event()

    def release(self) -> None:
        self.leave.set()

    def paths(self) -> list[str]:
        """The last part of the path of each request."""
        return [each.path.removeprefix("/api/v0/") for each in self.asked]

    def fault(self, asked: Asked) -> Fault | None:
        """Take the next fault of a request."""
        found = next((each for each in self.faults if each.part in asked.path), None)
        if found is not None:
            self.faults.remove(found)
        return found

    def is_allowed(self, asked: Asked) -> bool:
        """Whether a request has the token."""
        return not self.token or asked.headers.get("authorization") == f"Bearer {self.token}"

    def answer(self, asked: Asked, content: Iterator[bytes]) -> tuple[int, Any]:
        """Answer a request: status, and a document or a list of lines."""
        raise NotImplementedError

    def refusal(self) -> tuple[int, Any]:
        """The answer to a wrong token, which it repeats, as some servers do."""
        return 401, {"error": {"reason": "UNAUTHORIZED", "details": f"no such token: {self.token}x"}}


def _handler_of(owner: PublishServer) -> type[LoopbackHandler]:
    class Handler(LoopbackHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, query, headers)
            owner.asked.append(asked)
            fault = owner.fault(asked)
            content = self._content(asked, None if fault is None else fault.cut_after)
            if fault is None or fault.is_lost or fault.cut_after is not None:
                status, document = self._carried_out(asked, content)
                fields: Mapping[str, str] = {}
            else:
                status, document, fields = fault.status, fault.document, fault.headers
            for _piece in content:  # what was not read
                pass
            if fault is not None and fault.is_silent:
                owner.leave.wait(HELD)
            if fault is not None and (fault.is_lost or fault.is_silent or fault.cut_after is not None):
                self.close_connection = True
                return
            self._send(status, document, fields)

        do_POST = do_GET

        def _carried_out(self, asked: Asked, content: Iterator[bytes]) -> tuple[int, Any]:
            return owner.answer(asked, content) if owner.is_allowed(asked) else owner.refusal()

        def _content(self, asked: Asked, most: int | None) -> Iterator[bytes]:
            left = int(self.headers.get("Content-Length", 0))
            left = left if most is None else min(left, most)
            while left and (piece := self.rfile.read(min(left, 65_536))):
                left -= len(piece)
                asked.size += len(piece)
                yield piece

        def _send(self, status: int, document: Any, fields: Mapping[str, str]) -> None:
            lines = document if isinstance(document, list) else [document]
            body = "\n".join(json.dumps(line) for line in lines).encode()
            self.send_response_only(status)
            for name, value in {"Content-Type": "application/json", **fields}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def first_part(asked: Asked, content: Iterator[bytes]) -> Iterator[bytes]:
    """The content of the only part of a form, while it arrives."""
    boundary = asked.headers["content-type"].rpartition("boundary=")[2].encode()
    end = b"\r\n--" + boundary + b"--\r\n"
    held = b""
    for piece in content:
        held += piece
        if b"\r\n\r\n" in held:
            break
    held = held.partition(b"\r\n\r\n")[2]
    for piece in content:
        held += piece
        yield held[: -len(end)]
        held = held[-len(end) :]
    yield held.removesuffix(end)


def form_parts(asked: Asked, content: Iterator[bytes]) -> list[tuple[str, str, bytes]]:
    """Field, file name and content of all parts of a form."""
    boundary = asked.headers["content-type"].rpartition("boundary=")[2].encode()
    found = []
    for part in b"".join(content).split(b"--" + boundary)[1:-1]:
        head, _, data = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb' name="([^"]*)"', head)
        filename = re.search(rb'filename="([^"]*)"', head)
        assert name is not None
        found.append((name[1].decode(), filename[1].decode() if filename else "", data))
    return found


class KuboNode(PublishServer):
    """The RPC of a kubo node, with the blocks that it got."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: dict[bytes, bytes] = {}
        """By multihash."""
        self.pins: list[str] = []
        self.pinned_as = ""
        """The CID that imports state, if not the right one."""
        self.pin_error = ""
        """What the next import reports about its pin."""
        self.received = 0
        """Bytes of blocks in all imports."""
        self.forgets: Callable[[], None] = lambda: None
        """Called before a pin: blocks may vanish."""
        self.connected: list[str] = []

    def answer(self, asked: Asked, content: Iterator[bytes]) -> tuple[int, Any]:
        assert asked.method == "POST", "kubo refuses GET"
        act: Callable[[], tuple[int, Any]] | None = {
            "/api/v0/id": lambda: (200, {"ID": "12D3KooW", "Addresses": ADDRESSES}),
            "/api/v0/pin/ls": lambda: self._pin_ls(asked.query["arg"]),
            "/api/v0/block/stat": lambda: self._block_stat(asked),
            "/api/v0/dag/stat": lambda: self._dag_stat(asked),
            "/api/v0/dag/import": lambda: self._import(asked, content),
            "/api/v0/swarm/connect": lambda: self._connect(asked.query["arg"]),
        }.get(asked.path)
        return act() if act is not None else (404, {"Message": "no such command"})

    def refusal(self) -> tuple[int, Any]:
        return 403, {"Message": f"access denied for {self.token}x", "Type": "error"}

    def has_all(self, cid: Cid) -> bool:
        """Whether all blocks below a CID are there."""
        return self.count(cid, set()) is not None

    def count(self, cid: Cid, seen: set[bytes]) -> int | None:
        """Count different blocks from a CID down; None if one is missing."""
        block = self.blocks.get(cid.multihash)
        if block is None:
            return None
        seen.add(cid.multihash)
        links = () if cid.codec == RAW or block.startswith(b"\x0a") else dag_pb.decode(block).links
        below = [self.count(link.cid, seen) for link in links if link.cid.multihash not in seen]
        return None if None in below else len(seen)

    def _pin_ls(self, text: str) -> tuple[int, Any]:
        if text in self.pins:
            return 200, {"Keys": {text: {"Type": "recursive"}}}
        return 500, {"Message": f"path '{text}' is not pinned", "Code": 0, "Type": "error"}

    def _block_stat(self, asked: Asked) -> tuple[int, Any]:
        assert asked.query["offline"] == "true", "else the node searches the network"
        block = self.blocks.get(Cid.parse(asked.query["arg"]).multihash)
        if block is None:
            return 500, {"Message": "block was not found locally (offline): ipld: could not find it"}
        return 200, {"Key": asked.query["arg"], "Size": len(block)}

    def _dag_stat(self, asked: Asked) -> tuple[int, Any]:
        assert asked.query["offline"] == "true"
        count = self.count(Cid.parse(asked.query["arg"]), set())
        if count is None:
            return 500, {"Message": "block was not found locally (offline): ipld: could not find it"}
        return 200, {"UniqueBlocks": count, "DagStats": [{"Cid": asked.query["arg"], "NumBlocks": count}]}

    def _import(self, asked: Asked, content: Iterator[bytes]) -> tuple[int, Any]:
        reader = CarReader()
        root = None
        try:
            for piece in first_part(asked, content):
                for cid, block in reader.feed(piece):
                    root = root or cid
                    self.blocks[cid.multihash] = block
                    self.received += len(block)
            reader.finish()
        except MalformedError as error:
            return 500, {"Message": f"import failed: {error}", "Type": "error"}
        stats = {"Stats": {"BlockCount": len(self.blocks)}}
        if asked.query["pin-roots"] == "false":
            return 200, [stats]
        assert root is not None
        self.forgets()
        problem, self.pin_error = self.pin_error, ""
        if not problem and not self.has_all(root):
            problem = "block was not found locally (offline)"
        if not problem:
            self.pins.append(root.text)
        line = {"Root": {"Cid": {"/": self.pinned_as or root.text}, "PinErrorMsg": problem}}
        return 200, [line, stats]

    def _connect(self, address: str) -> tuple[int, Any]:
        self.connected.append(address)
        return 200, {"Strings": [f"connect {address} success"]}


class PinningServer(PublishServer):
    """A service of the Pinning Service API."""

    token = "pinning-token-0123456789"

    def __init__(self) -> None:
        super().__init__()
        self.pins: dict[str, dict[str, Any]] = {}
        """Requests by their id."""
        self.progress = ["queued", "pinning", "pinned"]
        """The status of a new request, and what it becomes with each question."""
        self.pinned_as = ""
        self.posted: list[dict[str, Any]] = []

    def answer(self, asked: Asked, content: Iterator[bytes]) -> tuple[int, Any]:
        body = b"".join(content)
        identifier = asked.path.removeprefix("/psa/pins").strip("/")
        if asked.path == "/psa/pins" and asked.method == "GET":
            wanted = asked.query["cid"].split(",")
            found = [each for each in self.pins.values() if each["pin"]["cid"] in wanted]
            return 200, {"count": len(found), "results": found}
        if asked.method == "POST" and asked.path.startswith("/psa/pins"):
            document = json.loads(body)
            self.posted.append(document)
            self.pins.pop(identifier, None)
            name = f"request-{len(self.posted)}"
            pin = {**document, "cid": self.pinned_as or document["cid"]}
            self.pins[name] = self._status(name, pin, self.progress[0])
            return 202, self.pins[name]
        if identifier in self.pins:
            found_pin = self.pins[identifier]
            at = self.progress.index(found_pin["status"])
            found_pin["status"] = self.progress[min(at + 1, len(self.progress) - 1)]
            return 200, found_pin
        return 404, {"error": {"reason": "NOT_FOUND", "details": "no such request"}}

    def _status(self, name: str, pin: Mapping[str, Any], status: str) -> dict[str, Any]:
        return {
            "requestid": name,
            "status": status,
            "created": "2026-11-29T00:00:00Z",
            "pin": pin,
            "delegates": ["/dns4/node.example/tcp/4001/p2p/12D3KooX"],
            "info": {"status_details": "no provider found"},
        }


class PinataServer(PublishServer):
    """Pinata, which makes blocks under a profile of its own."""

    token = "pinata-token-0123456789"
    keys = ("key-0123456789", "secret-0123456789")

    def __init__(self) -> None:
        super().__init__()
        self.profile: Profile = UNIXFS_V1_2025
        self.pins: list[str] = []
        self.stated = ""
        """The CID that uploads state, if not the right one."""
        self.files: dict[str, bytes] = {}
        """The files of the last upload."""
        self.fields: dict[str, Any] = {}

    def is_allowed(self, asked: Asked) -> bool:
        given = (asked.headers.get("pinata_api_key"), asked.headers.get("pinata_secret_api_key"))
        return super().is_allowed(asked) or given == self.keys

    def answer(self, asked: Asked, content: Iterator[bytes]) -> tuple[int, Any]:
        if asked.path == "/data/pinList":
            rows = [{"ipfs_pin_hash": each} for each in self.pins if each == asked.query["hashContains"]]
            return 200, {"count": len(rows), "rows": rows}
        if asked.path != "/pinning/pinFileToIPFS":
            return 404, {"error": "no such endpoint"}
        parts = form_parts(asked, content)
        if asked.size != int(asked.headers["content-length"]):
            return 500, {}
        self.files = {name.partition("/")[2]: data for kind, name, data in parts if kind == "file"}
        self.fields = {kind: json.loads(data) for kind, _, data in parts if kind != "file"}
        root = directory_cid(self.files, self.profile)
        with suppress(ValueError):
            self.pins.remove(root)
        self.pins.append(root)
        size = sum(map(len, self.files.values()))
        return 200, {"IpfsHash": self.stated or root, "PinSize": size, "Timestamp": "2026-11-29T00:00:00Z"}


def directory_cid(files: Mapping[str, bytes], profile: Profile = UNIXFS_V1_2025) -> str:
    """The CID of a directory with these files."""
    entries = []
    for path, data in files.items():
        tree = FileTree(profile)
        for start in range(0, len(data), profile.chunk_size):
            tree.add_chunk(data[start : start + profile.chunk_size])
        built = tree.finish()
        entries.append((path, built.root, built.tsize))
    return build_tree(entries, profile).root.text
