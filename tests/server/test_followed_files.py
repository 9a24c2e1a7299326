"""What another process of the machine fetches is sent as it comes, where a CID proves it."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from modelfetch.engine.events import Event
from modelfetch.ipfs import car
from modelfetch.ipfs.cid import Buffer
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.row_array import Row
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.write import manifest_toml
from modelfetch.server.fetch_progress import FetchProgress
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.waiting_requests import MAX_WAITING_OF_ONE
from modelfetch.store import Partial, Store
from tests.engine.fakes import code
from tests.patience import IN_TIME
from tests.peer_server import wait_for_peers
from tests.server.running import Served, until
from tests.server.sharing import MIB, Sharing, content, share
from tests.server.test_share_peers import Machine, kinds
from tests.share.home import built, digest

CONTENT = random.Random(36).randbytes(5 * MIB + 99)
"""Six chunks."""
SHA256 = digest(CONTENT)
PROVEN, OTHER = built(CONTENT).root.text, built(CONTENT[::-1]).root.text
FILE = FileSpec("big.bin", len(CONTENT), SHA256)

Start = Callable[..., Sharing]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server that does not fetch. Its catalog pins a CID; its cache has the chunk map of the file."""
    with ExitStack() as stack:

        def started(cid: str | None, limits: ShareLimits | None = None, *, fetch: bool = False) -> Sharing:
            catalog = tmp_path / "catalog"
            catalog.mkdir()
            manifest = Manifest("m", "1", (replace(FILE, cid=cid),), license="MIT")
            (catalog / "m.toml").write_text(manifest_toml(manifest), "utf-8")
            environ = {
                "HOME": str(tmp_path),
                "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
                "MODELFETCH_CATALOG": str(catalog),
            }
            workspace = ServerWorkspace({}, environ=environ, cwd=tmp_path)
            make_share_state = None if fetch else share(limits)
            served = stack.enter_context(
                Served(tmp_path, workspace, make_share_state=make_share_state, fetch=fetch)
            )
            Store(tmp_path / "cache", fsync=False).chunk_maps.write(SHA256, built(CONTENT))
            return Sharing(served, tmp_path)

        yield started


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, bool]]:
    """When chunks were hashed, and whether they were right."""
    found: list[tuple[float, bool]] = []

    def check(table: LeafTable, row: Row, chunk: Buffer) -> bool:
        is_right = real(table, row, chunk)
        found.append((time.monotonic(), is_right))
        return is_right

    real = LeafTable.check
    monkeypatch.setattr(LeafTable, "check", check)
    return found


@contextmanager
def fetching(sharing: Sharing) -> Iterator[tuple[Store, Partial]]:
    """Fetch the file into the cache as another process would: with the lock of its digest."""
    store = Store(sharing.cache, fsync=False)
    with store.lock_blob(SHA256) as lock:
        assert lock.try_acquire()
        with store.partial(FILE, True) as partial:
            yield store, partial


def available(sharing: Sharing) -> list[list[int]]:
    answer = sharing.get_blob(SHA256, Prefer="respond-async, wait=0")
    assert answer.status == 202
    found: list[list[int]] = json.loads(answer.body)["available"]
    return found


def test_a_peer_learns_which_chunks_are_there_and_gets_them(start: Start) -> None:
    sharing = start(PROVEN)
    with fetching(sharing) as (_, partial):
        assert available(sharing) == []
        partial.put(0, CONTENT[: MIB + 5000], "mirror a")
        partial.put(3 * MIB - 5000, CONTENT[3 * MIB - 5000 : 5 * MIB], "mirror a")
        assert available(sharing) == [[0, MIB], [3 * MIB, 5 * MIB]]
        answer = sharing.get_blob(SHA256, Range=f"bytes={3 * MIB + 7}-{5 * MIB - 1}")
        assert (answer.status, answer.body) == (206, CONTENT[3 * MIB + 7 : 5 * MIB])
        assert answer.headers["content-range"] == f"bytes {3 * MIB + 7}-{5 * MIB - 1}/{len(CONTENT)}"


@contextmanager
def reading(sharing: Sharing) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", sharing.served.port, timeout=IN_TIME)
    try:
        connection.request("GET", f"/blobs/sha256/{SHA256}")
        yield connection.getresponse()
    finally:
        connection.close()


def test_a_client_gets_the_file_while_it_arrives(start: Start) -> None:
    sharing = start(PROVEN)
    with ExitStack() as stack:
        fetch = stack.enter_context(ExitStack())
        store, partial = fetch.enter_context(fetching(sharing))
        partial.put(0, CONTENT[:MIB], "mirror a")
        response = stack.enter_context(reading(sharing))
        assert response.read(MIB) == CONTENT[:MIB]
        partial.put(MIB, CONTENT[MIB:], "mirror a")
        assert response.read(3 * MIB) == CONTENT[MIB : 4 * MIB]
        partial.wait(IN_TIME)
        partial.digest()
        store.commit(partial)
        fetch.close()
        assert response.read() == CONTENT[4 * MIB :]


def test_a_chunk_that_is_wrong_is_not_sent(start: Start, checks: list[tuple[float, bool]]) -> None:
    sharing = start(PROVEN)
    with ExitStack() as stack:
        fetch = stack.enter_context(ExitStack())
        _, partial = fetch.enter_context(fetching(sharing))
        partial.put(0, CONTENT[:MIB] + bytes(MIB), "mirror a")
        response = stack.enter_context(reading(sharing))
        assert response.read(MIB) == CONTENT[:MIB]
        until(lambda: checks[-1:] and not checks[-1][1], "a look at the wrong chunk")
        fetch.close()  # the process gives up
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()


@pytest.mark.parametrize("cid", [None, OTHER])
def test_without_a_proof_nothing_is_sent_before_the_file_is_complete(start: Start, cid: str | None) -> None:
    """The chunk map alone proves nothing: anyone who can write to the cache may have made it."""
    sharing = start(cid)
    with fetching(sharing) as (_, partial):
        partial.put(0, CONTENT[: 2 * MIB], "mirror a")
        assert available(sharing) == []
        assert sharing.get_blob(SHA256, Range="bytes=0-9").status == 404


def test_a_file_that_nobody_is_fetching_is_not_sent_from_its_partial(start: Start) -> None:
    sharing = start(PROVEN)
    with fetching(sharing) as (_, partial):
        partial.put(0, CONTENT[: 2 * MIB], "mirror a")
    assert sharing.get_blob(SHA256, Range="bytes=0-9").status == 404


def test_a_link_in_place_of_the_partial_is_not_followed(start: Start, tmp_path: Path) -> None:
    sharing = start(PROVEN)
    (tmp_path / "other").write_bytes(CONTENT)
    with fetching(sharing) as (_, partial):
        partial.put(0, CONTENT[:MIB], "mirror a")
        assert partial.data_path is not None
        partial.data_path.unlink()
        partial.data_path.symlink_to(tmp_path / "other")
        assert available(sharing) == []


def test_requests_that_wait_for_their_first_chunk_leave_the_slots_to_others(start: Start) -> None:
    """A chunk may take hours to come, and a client costs nothing while it waits."""
    sharing = start(PROVEN, ShareLimits(transfers=2))
    other = sharing.put(content(10))
    with fetching(sharing) as (_, partial), ExitStack() as stack:
        partial.put(0, CONTENT[:MIB], "mirror a")
        for _ in range(3):
            waits = stack.enter_context(sharing.connect())
            waits.sendall(sharing.head(f"/blobs/sha256/{SHA256}", f"Range: bytes={2 * MIB}-"))
        until(
            lambda: sharing.share_state.waiting.count + sharing.share_state.limits.slots.count == 3,
            "the requests",
        )
        assert sharing.get_blob(other).status == 200
        until(lambda: sharing.share_state.limits.slots.count == 0, "the end of the response")
        assert sharing.get_blob(SHA256, Range="bytes=0-9").status == 206
        until(lambda: sharing.share_state.limits.slots.count == 0, "the end of the responses")


def test_a_chunk_that_is_there_is_sent_while_too_many_wait_for_others(start: Start) -> None:
    sharing = start(PROVEN)
    with fetching(sharing) as (_, partial), ExitStack() as stack:
        partial.put(0, CONTENT[:MIB], "mirror a")
        for _ in range(MAX_WAITING_OF_ONE):
            stack.enter_context(sharing.share_state.waiting.of({"client": ("127.0.0.1", 1), "headers": []}))
        assert sharing.get_blob(SHA256, Range="bytes=0-9").status == 206
        assert sharing.get_blob(SHA256, Range=f"bytes={2 * MIB}-").code == "fetch_queue_full"


@pytest.mark.slow
def test_a_wrong_chunk_is_hashed_less_and_less_often(start: Start, checks: list[tuple[float, bool]]) -> None:
    """Or a few clients that wait for it would keep a processor busy."""
    sharing = start(PROVEN)
    with fetching(sharing) as (_, partial), sharing.connect() as waits:
        partial.put(0, bytes(MIB), "mirror a")
        waits.sendall(sharing.head(f"/blobs/sha256/{SHA256}", "Range: bytes=0-9"))
        until(lambda: checks and checks[-1][0] > checks[0][0] + 1.5, "some looks")
    assert sum(at <= checks[0][0] + 1.5 for at, _ in checks) < 20


@pytest.mark.slow
def test_the_slot_of_a_client_that_leaves_while_it_waits_for_a_chunk_is_free_again(start: Start) -> None:
    sharing = start(PROVEN)
    with fetching(sharing) as (_, partial):
        partial.put(0, CONTENT[:MIB], "mirror a")
        with reading(sharing) as response:
            assert response.read(MIB) == CONTENT[:MIB]
            assert sharing.share_state.limits.slots.count == 1
        until(lambda: sharing.share_state.limits.slots.count == 0, "the end of the response")


def test_a_server_that_fetches_sends_what_another_process_is_fetching(start: Start) -> None:
    sharing = start(PROVEN, fetch=True)
    with fetching(sharing) as (_, partial):
        partial.put(0, CONTENT[: 2 * MIB], "mirror a")
        assert available(sharing) == [[0, 2 * MIB]]
        answer = sharing.get_blob(SHA256, Range=f"bytes={MIB}-{2 * MIB - 1}")
        assert (answer.status, answer.body) == (206, CONTENT[MIB : 2 * MIB])


def test_a_file_that_is_completed_while_it_is_looked_for_is_found(start: Start) -> None:
    sharing = start(PROVEN)

    async def look(_sha256: str) -> None:
        """No process is fetching it any more: it was placed since the first look at the cache."""
        sharing.put(CONTENT)

    sharing.share_state.fetching = FetchProgress(look)
    assert sharing.get_blob(SHA256, Range="bytes=0-9").status == 206


def test_a_request_that_waits_ends_with_the_fetch(start: Start) -> None:
    sharing = start(PROVEN)
    answers = []
    with fetching(sharing):
        asked = threading.Thread(target=lambda: answers.append(sharing.get_blob(SHA256).status))
        asked.start()
        until(lambda: sharing.share_state.waiting.count > 0, "the request")
    asked.join(IN_TIME)
    assert answers == [404]


def test_another_machine_has_the_first_chunks_before_the_last_ones_are_there(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_peers(monkeypatch)
    sharing, tree, skeleton = start(PROVEN), built(CONTENT), tmp_path / "m.skeleton.car"
    skeleton.write_bytes(car.header(tree.root) + b"".join(car.section(*node) for node in tree.nodes))
    manifest = Manifest("m", "1", (replace(FILE, cid=PROVEN),), skeleton=str(skeleton))
    (tmp_path / "a").mkdir()
    machine = Machine(tmp_path / "a", [f"http://127.0.0.1:{sharing.served.port}"])
    data = tmp_path / "a" / "cache" / "partial" / SHA256 / "data"
    events: list[Event] = []
    run = threading.Thread(target=lambda: events.extend(machine.ensure(manifest)))
    with fetching(sharing) as (store, partial):
        partial.put(0, CONTENT[: 2 * MIB], "mirror a")
        run.start()
        until(lambda: data.exists() and data.stat().st_blocks * 512 >= 2 * MIB, "the first chunks")
        partial.put(2 * MIB, CONTENT[2 * MIB :], "mirror a")
        partial.wait(IN_TIME)
        partial.digest()
        store.commit(partial)
    run.join(IN_TIME)
    assert (code(events), kinds(events)) == (0, {"peer"})
