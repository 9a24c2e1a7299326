"""A trustless IPFS gateway on loopback that can misbehave in every way that real ones do.

::

    with Gateway(dag) as gateway:
        gateway.faults.ignores_range = True
        gateway.replies = [Status(429, {"Retry-After": "2"})]   # to the next requests

It takes blocks from a :class:`~tests.gateways.dags.Dag` and shares no code with the client but the formats of
blocks.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from modelfetch.ipfs import car, dag_pb, varint
from modelfetch.ipfs.cid import RAW, Cid
from tests.gateways.dags import Dag
from tests.loopback import LoopbackHandler, LoopbackServer

RAW_TYPE = "application/vnd.ipld.raw"
CAR_TYPE = "application/vnd.ipld.car; version=1; order=dfs; dups=y"


@dataclass(frozen=True)
class Request:
    """One request."""

    target: str
    headers: Mapping[str, str]
    """Names in lower case."""

    @property
    def form(self) -> str:
        """``file``, ``raw`` or ``car``."""
        return parse_qs(urlsplit(self.target).query).get("format", ["file"])[0]


@dataclass(frozen=True)
class Status:
    """An answer that is no content."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Faults:
    """How the gateway misbehaves; by default not at all."""

    wrong: set[bytes] = field(default_factory=set)
    """Multihashes of blocks that are sent with one bit flipped, in every form."""
    missing: set[bytes] = field(default_factory=set)
    """Multihashes of blocks that it does not have."""
    gaps: set[bytes] = field(default_factory=set)
    """Multihashes of blocks that are left out of CAR files for a range, without an error."""
    ignores_range: bool = False
    """Whole files with 200, whatever range is requested."""
    ignores_entity_bytes: bool = False
    refuses: Mapping[str, Status] = field(default_factory=dict)
    """Answers to all requests of a form: ``file``, ``raw``, ``car``."""
    car_type: str = CAR_TYPE
    """Content-Type of CAR files."""
    raw_type: str = RAW_TYPE
    order: str = "dfs"
    """Of the blocks in a CAR file: ``dfs``, ``reversed`` or ``shuffled``."""
    repeats: bool = True
    """Whether a repeated block is sent as often as it occurs."""
    header_only: bool = False
    version: int = 1
    """Of the CAR files."""
    tail: bytes = b""
    """Sent after a CAR file that lacks a block, as kubo appends the text of an error."""
    cut: int | None = None
    """The connection is closed after so many bytes of a body."""
    stall: int | None = None
    """Nothing follows after so many bytes of a body; 0 for no answer at all."""
    to_subdomain: bool = False
    """Every request for a path is redirected to the subdomain of its CID."""
    keeps_query: bool = False
    """Whether such a redirect keeps the query."""


class Gateway(LoopbackServer):
    """A gateway on a loopback port. Use it as a context manager.

    Attributes:
        faults: How it misbehaves.
        replies: Taken one by one for the next requests, instead of content.
        requests: Every request so far.
        sent: Bytes of bodies so far.
    """

    def __init__(self, dag: Dag) -> None:
        super().__init__(_handler_of(self))
        self.dag = dag
        self.faults = Faults()
        self.replies: list[Status] = []
        self.requests: list[Request] = []
        self.sent = 0
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    def targets(self, form: str) -> list[str]:
        """The targets of the requests for one form so far."""
        return [request.target for request in self.requests if request.form == form]

    def wait(self) -> None:
        """Be silent until the gateway is closed."""
        self._released.wait()

    def answer(self, request: Request) -> tuple[Status, Iterable[bytes] | None]:
        """Return the answer; its body if it is streamed."""
        self.requests.append(request)
        if self.replies:
            return self.replies.pop(0), None
        if request.form in self.faults.refuses:
            return self.faults.refuses[request.form], None
        if self.faults.to_subdomain and not request.headers["host"].startswith("b"):
            return self._redirect(request), None
        try:
            return self._content(request)
        except KeyError:
            return Status(404, body=b"not found"), None

    def _redirect(self, request: Request) -> Status:
        parts = urlsplit(request.target)
        cid, _, path = parts.path.removeprefix("/ipfs/").partition("/")
        query = f"?{parts.query}" if parts.query and self.faults.keeps_query else ""
        return Status(301, {"Location": f"http://{cid}.ipfs.localhost:{self.port}/{path}{query}"})

    def _content(self, request: Request) -> tuple[Status, Iterable[bytes] | None]:
        parts = urlsplit(request.target)
        path = parts.path.removeprefix("/ipfs/")
        if request.headers["host"].startswith("b"):
            path = request.headers["host"].partition(".")[0] + parts.path
        root, *names = [unquote(name) for name in path.rstrip("/").split("/")]
        # A redirect dropped the query: the type in Accept says what is wanted.
        accept = request.headers.get("accept", "")
        way = self.dag.resolve(Cid.parse(root), names)
        cid = way[-1][0]
        self._raise_missing(cid)
        if request.form == "raw" or RAW_TYPE in accept:
            block = self._sent_form(cid, way[-1][1])
            return Status(200, {"Content-Type": self.faults.raw_type}, block), None
        if request.form == "car" or "vnd.ipld.car" in accept:
            return Status(200, {"Content-Type": self.faults.car_type}), self._car(request, way)
        return self._file(request, cid), None

    def _file(self, request: Request, cid: Cid) -> Status:
        content = b"".join(self._leaves(cid))
        fields = {"Content-Type": "application/octet-stream", "Etag": f'"{cid.text}"'}
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if part is None or self.faults.ignores_range:
            return Status(200, fields, content)
        first, last = int(part[1]), min(int(part[2]), len(content) - 1)
        fields |= {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return Status(206, fields, content[first : last + 1])

    def _leaves(self, cid: Cid) -> Iterator[bytes]:
        for each, block in self.dag.walk(cid):
            self._raise_missing(each)
            assert block is not None
            if each.codec == RAW or not dag_pb.decode(block).links:
                data = self.dag.content(each)
                yield flipped(data) if each.multihash in self.faults.wrong else data

    def _car(self, request: Request, way: list[tuple[Cid, bytes]]) -> Iterator[bytes]:
        faults, query = self.faults, parse_qs(urlsplit(request.target).query)
        if faults.version == 2:
            yield bytes.fromhex("0aa16776657273696f6e02") + bytes(40)
            return
        yield car.header(way[0][0])
        if faults.header_only:
            return
        start, end = 0, None
        if "entity-bytes" in query and not faults.ignores_entity_bytes:
            first, _, last = query["entity-bytes"][0].partition(":")
            start, end = int(first), None if last == "*" else int(last) + 1
        blocks = [*way[:-1], *self.dag.walk(way[-1][0], start, end)]
        seen: set[bytes] = set()
        for cid, block in self._ordered(blocks):
            if block is None or cid.multihash in faults.missing:
                yield faults.tail
                return
            if cid.multihash in seen and not faults.repeats:
                continue
            if cid.multihash in faults.gaps and "entity-bytes" in query:
                continue
            seen.add(cid.multihash)
            sent = self._sent_form(cid, block)
            yield varint.encode(len(cid.binary) + len(sent)) + cid.binary + sent

    def _ordered(self, blocks: list[tuple[Cid, bytes | None]]) -> list[tuple[Cid, bytes | None]]:
        match self.faults.order:
            case "reversed":
                return blocks[::-1]
            case "shuffled":
                return random.Random(0).sample(blocks, len(blocks))
            case _:
                return blocks

    def _raise_missing(self, cid: Cid) -> None:
        if cid.multihash in self.faults.missing:
            raise KeyError(cid)

    def _sent_form(self, cid: Cid, block: bytes) -> bytes:
        if cid.multihash not in self.faults.wrong:
            return block
        return flipped(block)


def flipped(data: bytes) -> bytes:
    """The same bytes but for the last bit."""
    return data[:-1] + bytes([data[-1] ^ 1])


def _handler_of(gateway: Gateway) -> type[LoopbackHandler]:
    class Handler(LoopbackHandler):
        def do_GET(self) -> None:
            if gateway.faults.stall == 0:
                gateway.requests.append(self._request())
                gateway.wait()
                self.close_connection = True
                return
            status, streamed = gateway.answer(self._request())
            self.send_response_only(status.status)
            for name, value in status.headers.items():
                self.send_header(name, value)
            is_chunked = streamed is not None and "content-length" not in status.headers
            if is_chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif streamed is None:
                self.send_header("Content-Length", str(len(status.body)))
            self.end_headers()
            self._send_body([status.body] if streamed is None else streamed, is_chunked=is_chunked)
            self.wfile.flush()

        def _request(self) -> Request:
            return Request(self.path, {name.lower(): value for name, value in self.headers.items()})

        def _send_body(self, pieces: Iterable[bytes], *, is_chunked: bool) -> None:
            left = gateway.faults.cut if gateway.faults.cut is not None else gateway.faults.stall
            for piece in filter(None, pieces):
                sent = piece if left is None else piece[:left]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(sent), sent) if is_chunked and sent else sent)
                gateway.sent += len(sent)
                if left is None:
                    continue
                left -= len(sent)
                if left == 0:
                    self.wfile.flush()
                    self.close_connection = True
                    if gateway.faults.stall is not None:
                        gateway.wait()
                    return
            if is_chunked:
                self.wfile.write(b"0\r\n\r\n")

    return Handler
