"""A file whose chunks are proven is sent while it arrives; what was not verified is never sent."""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
from modelfetch.model.write import manifest_toml
from modelfetch.server.arriving_files import ForeignArrival, OwnArrival, whole_chunks
from modelfetch.server.arriving_response import ArrivingFile, ArrivingResponse
from modelfetch.server.connection_timeouts import CONNECTION, Connection
from modelfetch.server.file_response import BLOCK_BYTES
from modelfetch.server.share_counters import ShareCounters
from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.share_outlet import Outlet
from modelfetch.server.waiting_requests import WaitingRequests
from modelfetch.store import Partial, Store
from modelfetch.store.in_progress import MOST_RANGES
from tests.ipfs.dag import Dag, chunk, table_of
from tests.origin import Origin, faults
from tests.origin.models import revision_of
from tests.server.pulling import Pulling, pulling
from tests.server.running import PatientConnection, until
from tests.share.home import built, digest

MIB = 1 << 20
CONTENT = random.Random(35).randbytes(5 * MIB + 99)
"""Six chunks."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as running:
        running.add("big.bin", CONTENT, scope="m")
        yield running


def manifest(cid: str | None) -> Manifest:
    file = FileSpec("big.bin", len(CONTENT), digest(CONTENT), cid)
    hub = HuggingFaceRepo("origin/m", revision_of("m"), "model")
    return Manifest("m", "1", (file,), huggingface=hub, license="MIT")


Start = Callable[..., Pulling]


class Impatient(Connection):
    """A connection whose client must read on within half a second."""

    read_seconds = 0.5


@pytest.fixture
def start(tmp_path: Path, origin: Origin) -> Iterator[Start]:
    """Start a server whose catalog pins a CID of the file, and whose cache has its chunk map."""
    with ExitStack() as stack:

        def started(cid: str | None, connection: type[Connection] = PatientConnection) -> Pulling:
            catalog = tmp_path / "catalog"
            catalog.mkdir()
            (catalog / "m.toml").write_text(manifest_toml(manifest(cid)), "utf-8")
            environ = {
                "HF_ENDPOINT": origin.endpoint,
                "MODELFETCH_CATALOG": str(catalog),
                "MODELFETCH_NETWORK_CONNECTIONS": "1",
                "MODELFETCH_SOURCES_ORDER": "local,huggingface",
            }
            server = stack.enter_context(pulling(tmp_path, None, environ, connection=connection))
            server.store.chunk_maps.write(digest(CONTENT), TREE)
            return server

        yield started


TREE = built(CONTENT)
PROVEN = TREE.root.text
OTHER = built(CONTENT[::-1]).root.text


def test_proven_chunks_are_sent_before_the_rest_is_there(origin: Origin, start: Start) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(3 * MIB + 5, until=go))
    server = start(PROVEN)
    with server.reading(digest(CONTENT)) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, str(len(CONTENT)))
        assert response.read(3 * MIB) == CONTENT[: 3 * MIB]
        assert server.jobs() == [(("big.bin",), "running")]
        go.set()
        assert response.read() == CONTENT[3 * MIB :]
    assert origin.sent("*big.bin") == len(CONTENT)


@pytest.mark.slow
def test_a_range_is_sent_as_soon_as_its_chunks_are_there(origin: Origin, start: Start) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(3 * MIB + 5, until=go))
    server = start(PROVEN)
    part = slice(MIB - 10, 2 * MIB + 10)
    with server.reading(digest(CONTENT), Range=f"bytes={part.start}-{part.stop - 1}") as response:
        assert (response.status, response.read()) == (206, CONTENT[part])
        assert server.jobs() == [(("big.bin",), "running")]
    go.set()
    server.until_idle()


def fail_after(server: Pulling, origin: Origin, start: int) -> bytes:
    """Ask for the file while the origin sends a wrong byte at an offset; returns what the client got."""
    go = threading.Event()
    origin.fault("*big.bin", faults.all_of(faults.flipped(start), faults.stall(MIB + 5, until=go)))
    with server.reading(digest(CONTENT)) as response:
        got = response.read(MIB)
        go.set()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)) as ended:
            response.read()
    origin.heal()
    until(lambda: server.jobs()[0][1] == "failed", "the failure")
    rest: bytes = getattr(ended.value, "partial", b"")
    return got + rest


def test_a_client_gets_the_chunks_before_a_wrong_one_and_then_no_end(origin: Origin, start: Start) -> None:
    got = fail_after(start(PROVEN), origin, 2 * MIB + 7)
    assert MIB <= len(got) <= 2 * MIB
    assert got == CONTENT[: len(got)]


@pytest.mark.parametrize("cid", [None, OTHER])
def test_without_a_proof_nothing_is_sent_before_the_whole_file_is_verified(
    origin: Origin, start: Start, cid: str | None
) -> None:
    """The chunk map alone proves nothing: anyone who can write to the cache may have made it."""
    origin.fault("*big.bin", faults.flipped(len(CONTENT) - 1))
    server = start(cid)
    answer = server.get(digest(CONTENT))
    assert (answer.status, answer.code) == (502, "origin_failed")


@pytest.mark.slow
def test_the_rest_is_fetched_by_a_range_after_a_failure(origin: Origin, start: Start) -> None:
    server = start(PROVEN)
    got = fail_after(server, origin, 2 * MIB + 7)
    server.share_state._fetches.clear()  # a failure is remembered for some seconds
    answer = server.get(digest(CONTENT), Range=f"bytes={len(got)}-")
    assert (answer.status, answer.body) == (206, CONTENT[len(got) :])


@pytest.mark.slow
def test_a_client_that_does_not_read_loses_its_connection(origin: Origin, start: Start) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(4 * MIB, until=go))
    server = start(PROVEN, Impatient)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.server.port))
        head = f"GET /blobs/sha256/{digest(CONTENT)} HTTP/1.1\r\nHost: 127.0.0.1:{server.server.port}\r\n\r\n"
        client.sendall(head.encode())
        counters = server.share_state.counters
        until(lambda: counters.snapshot()["bytes"] > 0, "the first chunk")
        until(lambda: counters.snapshot()["active"] == 0, "the end of the response")
    go.set()
    server.until_idle()


# One arrival


class Chunks:
    """What a run knows."""

    def __init__(self, store: Store, *, is_proven: bool) -> None:
        self.table = store.chunk_maps.read(digest(CONTENT), len(CONTENT))
        self.is_proven = is_proven


class AllThere:
    """Chunks of which each is there; notes which were read."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def has(self, offset: int) -> bool:
        return offset >= 0

    def read(self, offset: int) -> bytes:
        self.reads.append(offset)
        return bytes(MIB - offset % MIB)


def answer(chunks: Any, size: int, *, leaves: bool) -> list[Message]:
    """Send a file whose chunks are there; returns the messages of the application.

    A client that leaves does so after the first bytes, as the event loop will notice.
    """
    connection = SimpleNamespace(is_lost=False, spared=nullcontext, abort=lambda: None)
    scope = {"method": "GET", "headers": [], "state": {CONNECTION: connection}}
    sent = []

    async def send(message: Message) -> None:
        sent.append(message)
        if leaves and message["type"] == "http.response.body":
            asyncio.get_running_loop().call_soon(setattr, connection, "is_lost", True)

    async def respond(pool: ThreadPoolExecutor) -> None:
        fetch: Any = asyncio.get_running_loop().create_future()
        outlet = Outlet(ShareLimits(), ShareCounters(), pool)
        receive: Any = None
        file = ArrivingFile("ab" * 32, size, chunks, fetch)
        await ArrivingResponse(file, outlet, WaitingRequests(), "blobs")(scope, receive, send)

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(respond(pool))
    return sent


def test_nothing_more_is_read_for_a_client_that_has_left() -> None:
    """Its chunks may all be there already, so nothing else would end the response; nor is a rate used up."""
    chunks = AllThere()
    sent = answer(chunks, 50 * MIB, leaves=True)
    assert (chunks.reads, len(sent), len(sent[1]["body"])) == ([0], 2, BLOCK_BYTES)


def test_a_chunk_is_sent_in_pieces_that_a_slow_client_can_read_in_time() -> None:
    """And that a limited rate allows without a silence after which clients leave."""
    sent = answer(AllThere(), MIB + 5, leaves=False)
    lengths = [len(message["body"]) for message in sent[1:]]
    assert (sum(lengths), max(lengths)) == (MIB + 5, BLOCK_BYTES)
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(lengths) - 1) + [False]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cache", fsync=False)
    store.chunk_maps.write(digest(CONTENT), TREE)
    return store


def partial_of(store: Store) -> Partial:
    return store.partial(replace(manifest(None).files[0]), True)


def test_a_chunk_is_read_once_all_of_it_is_there(store: Store) -> None:
    with partial_of(store) as partial:
        arrival = OwnArrival(partial, Chunks(store, is_proven=True), store)
        assert (arrival.read(0), arrival.inode()) == (None, None)
        partial.put(0, CONTENT[: MIB + 5], "mirror a")
        assert arrival.inode() is not None
        assert arrival.read(0) == CONTENT[:MIB]
        assert arrival.read(10) == CONTENT[10:MIB]
        assert arrival.read(MIB) is None
        partial.put(5 * MIB, CONTENT[5 * MIB :], "mirror a")
        assert arrival.read(5 * MIB) == CONTENT[5 * MIB :]
        assert [arrival.read(offset) for offset in (-1, len(CONTENT))] == [None, None]


def test_a_chunk_that_is_wrong_on_the_disk_is_not_read(store: Store) -> None:
    """Wherever the bytes come from: what is sent was hashed in the memory that it is sent from."""
    with partial_of(store) as partial:
        partial.put(0, CONTENT[: 2 * MIB], "mirror a")
        arrival = OwnArrival(partial, Chunks(store, is_proven=True), store)
        assert partial.data_path is not None
        with partial.data_path.open("r+b") as file:
            file.seek(MIB + 3)
            file.write(bytes([CONTENT[MIB + 3] ^ 1]))
        assert arrival.read(0) == CONTENT[:MIB]
        assert arrival.read(MIB) is None


def test_nothing_is_read_without_a_proof(store: Store) -> None:
    with partial_of(store) as partial:
        partial.put(0, CONTENT[: 2 * MIB], "mirror a")
        arrival = OwnArrival(partial, Chunks(store, is_proven=False), store)
        assert not arrival.is_proven
        assert arrival.read(0) is None


def test_a_link_in_place_of_the_data_is_not_followed(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(CONTENT)
    with partial_of(store) as partial:
        partial.put(0, CONTENT[:MIB], "mirror a")
        arrival = OwnArrival(partial, Chunks(store, is_proven=True), store)
        assert partial.data_path is not None
        partial.data_path.unlink()
        partial.data_path.symlink_to(other)
        assert arrival.read(0) is None


def test_a_file_that_has_its_final_name_by_now_is_not_read(store: Store) -> None:
    with partial_of(store) as partial:
        partial.put(0, CONTENT, "mirror a")
        arrival = OwnArrival(partial, Chunks(store, is_proven=True), store)
        inode = arrival.inode()
        partial.digest()
        placed = store.commit(partial)
        assert arrival.read(0) is None
        assert placed.path.stat().st_ino == inode


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("missing", "ranges"),
    [
        ([], [(0, len(CONTENT))]),
        ([(0, len(CONTENT))], []),
        ([(0, 1)], [(MIB, len(CONTENT))]),
        ([(MIB, 2 * MIB)], [(0, MIB), (2 * MIB, len(CONTENT))]),
        ([(MIB - 1, 2 * MIB + 1)], [(3 * MIB, len(CONTENT))]),
        ([(MIB + 5, MIB + 6), (MIB + 7, MIB + 8)], [(0, MIB), (2 * MIB, len(CONTENT))]),
        ([(0, 5 * MIB)], [(5 * MIB, len(CONTENT))]),
        ([(len(CONTENT) - 1, len(CONTENT))], [(0, 5 * MIB)]),
    ],
)
def test_only_whole_chunks_are_offered(
    store: Store, missing: list[tuple[int, int]], ranges: list[tuple[int, int]]
) -> None:
    table = store.chunk_maps.read(digest(CONTENT), len(CONTENT))
    assert table is not None
    assert whole_chunks(table, missing) == ranges


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell where holes are")
def test_what_was_offered_can_be_read_whatever_holes_there_are_by_then(tmp_path: Path) -> None:
    """A swarm brings pieces in any order, so soon there are more holes than a peer is told of."""
    dag, size, count = Dag(), 64 << 10, 2 * MOST_RANGES + 2
    content = [chunk(index, size) for index in range(count)]
    table = table_of(dag.inner(*map(dag.raw, content)).cid, dag, count * size)
    store, file = Store(tmp_path / "cache", fsync=False), FileSpec("f", count * size, "ab" * 32)
    arrival = ForeignArrival(file.sha256, table, store)
    with store.partial(file, True) as partial:
        partial.put((count - 1) * size, content[-1], "swarm")
        assert arrival.ranges() == [((count - 1) * size, count * size)]
        for index in range(1, count - 1, 2):
            partial.put(index * size, content[index], "swarm")
        assert arrival.ranges()[-1][1] < (count - 1) * size
        assert arrival.read((count - 1) * size) == content[-1]
        assert arrival.read(2 * size) is None
