"""Runs of one machine that fetch from the real servers of others, each with a cache of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine import batch, batch_connections
from modelfetch.engine.batch import SAMPLE
from modelfetch.engine.ensure import ensure
from modelfetch.engine.events import Event, FileCommitted, LockWaiting, SourceFailed
from modelfetch.engine.options import EnsureOptions, Request
from modelfetch.engine.setup import RunOptions, assemble
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.notices import Notices
from modelfetch.server import share_blobs
from modelfetch.server.listen_address import Address
from modelfetch.server.serve import announced
from modelfetch.server.serve_options import Options
from modelfetch.settings import load
from modelfetch.store import Store
from tests.engine.fakes import body, code, flipped, of, sha256, spec
from tests.origin import Origin
from tests.patience import HELD, IN_TIME
from tests.peer_server import PeerServer, wait_for_peers
from tests.server.sharing import Sharing, sharing_server
from tests.sources.test_peer_table import BLOCKS, DATA, FILE, Gateway

if TYPE_CHECKING:
    from modelfetch.workspace import Workspace

LARGE, SECOND, SMALL = body(3 << 20, 1), body(2 << 20, 2), [body(1000 + n, n) for n in range(20)]
FILES = {"large.bin": LARGE, "second.bin": SECOND, **{f"{n}.json": each for n, each in enumerate(SMALL)}}


class Machine:
    """A machine that runs ensure.

    Args:
        root: Its directory.
        peers: Addresses of its peers.
        mirror: An origin that has every file, or None.
    """

    def __init__(self, root: Path, peers: Sequence[str], mirror: Origin | None = None) -> None:
        self.root = root
        self.environ = {
            "HOME": str(root),
            "MODELFETCH_CONFIG": str(root / "none.toml"),
            "MODELFETCH_CACHE_DIR": str(root / "cache"),
            "MODELFETCH_SOURCES_PEERS": ",".join(peers),
            "MODELFETCH_IPFS_GATEWAYS": "none",
            "MODELFETCH_SOURCES_MIRRORS": mirror.blobs if mirror is not None else "none",
        }
        self.notices = Notices()

    def ensure(
        self,
        manifest: Manifest,
        *,
        offline: bool = False,
        follow: Callable[[Event], None] = lambda _: None,
    ) -> list[Event]:
        """Run it; ``follow`` gets each event at once."""
        loaded = load(flags={}, environ=self.environ, cwd=self.root)
        options = RunOptions(offline=offline)
        runtime = assemble(loaded, options, Cancellation(), notices=self.notices)
        try:
            events = []
            for event in ensure(runtime, Request((manifest,), EnsureOptions())):
                events.append(event)
                follow(event)
            return events
        finally:
            runtime.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_peers(monkeypatch)
    monkeypatch.setattr(
        share_blobs, "HASH_SECONDS", IN_TIME
    )  # after which a peer says that it is not ready yet


def model(files: dict[str, bytes]) -> Manifest:
    return Manifest("m", "1", tuple(spec(path, content) for path, content in files.items()))


def kinds(events: Sequence[Event]) -> set[str]:
    return {event.source for event in of(events, FileCommitted)}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def sharing(tmp_path: Path, stack: ExitStack) -> Sharing:
    (tmp_path / "other").mkdir()
    return stack.enter_context(sharing_server(tmp_path / "other"))


@pytest.fixture
def origin(stack: ExitStack) -> Origin:
    origin = stack.enter_context(Origin())
    for path, content in FILES.items():
        origin.add(path, content)
    return origin


def url(sharing: Sharing) -> str:
    return f"http://127.0.0.1:{sharing.served.port}"


def test_a_model_comes_from_a_peer_with_the_origin_down(tmp_path: Path, sharing: Sharing) -> None:
    for content in FILES.values():
        sharing.put(content)
    events = Machine(tmp_path, [url(sharing)]).ensure(model(FILES))
    assert code(events) == 0
    assert kinds(events) == {"peer"}
    assert not of(events, SourceFailed)


def test_a_model_comes_from_a_peer_that_hashes_its_largest_file(
    tmp_path: Path, sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the origin down. The small files are there before that one is hashed."""
    monkeypatch.setattr(share_blobs, "HASH_SECONDS", 0.1)
    for content in FILES.values():
        sharing.put(content)
    small = {path for path in FILES if path.endswith(".json")}
    with ExitStack() as hashing:
        hashing.enter_context(sharing.share_state.cache._hashing)  # as for the file of another client

        def follow(event: Event) -> None:
            if isinstance(event, FileCommitted):
                small.discard(event.file)
                if not small:
                    hashing.close()

        events = Machine(tmp_path, [url(sharing)]).ensure(model(FILES), follow=follow)
    assert code(events) == 0
    assert kinds(events) == {"peer"}
    assert not of(events, SourceFailed)


def test_offline_no_peer_is_asked(tmp_path: Path, stack: ExitStack) -> None:
    peer = stack.enter_context(PeerServer(*FILES.values()))
    assert code(Machine(tmp_path, [peer.url]).ensure(model(FILES), offline=True)) == 4
    assert not peer.asked


@pytest.mark.slow
def test_peers_with_nothing_cost_a_few_questions(tmp_path: Path, stack: ExitStack, origin: Origin) -> None:
    peers = [stack.enter_context(PeerServer(instance=f"{n}" * 16)) for n in range(3)]
    gone = "127.0.0.1:1"
    machine = Machine(tmp_path, [gone, *(peer.url for peer in peers)], origin)
    events = machine.ensure(model(FILES))
    assert kinds(events) == {"mirror"}
    assert not of(events, SourceFailed), "not having a file is no failure"
    # One for the model, and two for each large file: before and after this run has begun it.
    assert [len(peer.asked) for peer in peers] == [5, 5, 5]
    assert machine.notices.take() == ["peer 127.0.0.1:1 is left out: connection refused"]


@pytest.mark.slow
def test_a_peer_that_lacks_some_small_files_is_not_asked_for_the_rest(
    tmp_path: Path, stack: ExitStack, origin: Origin
) -> None:
    peer = stack.enter_context(PeerServer(LARGE))
    events = Machine(tmp_path, [peer.url], origin).ensure(model(FILES))
    assert code(events) == 0
    assert kinds(events) == {"mirror", "peer"}
    assert not of(events, SourceFailed)
    assert peer.requests < len(SMALL), "each connection of the batch may have asked once"


@pytest.mark.slow
@pytest.mark.parametrize("has", [0, 10])
def test_a_peer_that_fetches_the_model_is_asked_for_small_files_until_it_lacks_one(
    tmp_path: Path, stack: ExitStack, origin: Origin, has: int
) -> None:
    peer = stack.enter_context(PeerServer(*SMALL[:has]))
    peer.fetching[sha256(SMALL[-1])] = 0, len(SMALL[-1])
    machine = Machine(tmp_path, [peer.url], origin)
    machine.environ["MODELFETCH_NETWORK_FILES"] = "1"  # each connection of the batch would ask once
    events = machine.ensure(model({f"{n}.json": each for n, each in enumerate(SMALL)}))
    assert code(events) == 0
    assert kinds(events) == ({"mirror", "peer"} if has else {"mirror"})
    assert not of(events, SourceFailed), "not having a file yet is no failure"
    requested = [path.rpartition("/")[2] for path, fields in peer.asked if "prefer" not in fields]
    assert len([each for each in requested if each not in peer.files]) == 1


class FewThreads(PeerServer):
    """A peer without a thread for one of the connections over which small files are requested.

    It has one when the file is requested over another one.
    """

    def __init__(self, *files: bytes) -> None:
        super().__init__(*files)
        self.small: list[str] = []
        """Digests of the small files that were requested."""
        self.go = threading.Event()

    def answer(self, handler: Any) -> None:
        time.sleep(0.01)  # an answer that takes at least so long is worth several connections
        sha256 = handler.path.rpartition("/")[2]
        if len(self.files[sha256]) < 10_000:
            with self.lock:
                self.small.append(sha256)
                count, is_again = len(self.small), sha256 in self.small[:-1]
            if count == SAMPLE + 1:  # the first one of a batch over several connections
                self.go.wait(HELD)
            elif is_again:
                self.go.set()
        super().answer(handler)

    def release(self) -> None:
        self.go.set()


def test_a_connection_that_a_peer_does_not_answer_at_once_is_no_failure_of_the_peer(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other small files, and that one, come from the same peer over other connections."""
    monkeypatch.setattr(batch_connections, "PATIENCE_SECONDS", 0.05)
    for name in ("LONG_WAIT", "DISTANT"):  # else fewer files are the sample
        monkeypatch.setattr(batch, name, IN_TIME)
    peer = stack.enter_context(FewThreads(*FILES.values()))
    events = Machine(tmp_path, [peer.url]).ensure(model(FILES))
    assert code(events) == 0
    assert not of(events, SourceFailed)


def test_a_file_that_a_peer_is_fetching_is_waited_for(
    tmp_path: Path, sharing: Sharing, origin: Origin
) -> None:
    """What it has already is not: also a small file comes from there."""
    store, file = Store(sharing.cache, fsync=False), spec("large.bin", LARGE)
    sharing.put(SMALL[0])
    lock = store.lock_blob(file.sha256)
    assert lock.try_acquire()
    has_begun, is_waited_for = threading.Event(), threading.Event()

    def fetch() -> None:
        with store.partial(file, True) as partial:
            for at in range(0, len(LARGE), 1 << 20):
                partial.put(at, LARGE[at : at + (1 << 20)], "mirror a.example")
                has_begun.set()
                assert is_waited_for.wait(IN_TIME)
            store.commit(partial)
        lock.release()

    def follow(event: Event) -> None:
        if isinstance(event, LockWaiting):
            is_waited_for.set()

    with ThreadPoolExecutor() as pool:
        fetching = pool.submit(fetch)
        assert has_begun.wait(IN_TIME)
        machine = Machine(tmp_path, [url(sharing)], origin)
        events = machine.ensure(model({"large.bin": LARGE, "0.json": SMALL[0]}), follow=follow)
        fetching.result(IN_TIME)
    assert code(events) == 0
    assert kinds(events) == {"peer"}
    assert [event.holder for event in of(events, LockWaiting)][:1] == [
        f"peer 127.0.0.1:{sharing.served.port}"
    ]
    assert not origin.requests


@pytest.mark.slow
def test_two_machines_that_start_at_once_read_the_origin_once(
    tmp_path: Path, stack: ExitStack, origin: Origin
) -> None:
    origin.pace = 4e6
    roots = [tmp_path / "a", tmp_path / "b"]
    servers = []
    for root in roots:
        (root / "cache").mkdir(parents=True)
        server = stack.enter_context(sharing_server(root))
        servers.append(server)
    machines = [Machine(root, [url(server) for server in servers], origin) for root in roots]
    results: list[list[Event]] = [[], []]
    large = {"large.bin": LARGE, "second.bin": SECOND}

    def run(number: int) -> None:
        results[number] = machines[number].ensure(model(large))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * IN_TIME)
    assert [code(events) for events in results] == [0, 0]
    sent = sum(request.sent for request in origin.requests)
    assert sent <= 1.05 * (len(LARGE) + len(SECOND))


@pytest.mark.parametrize(
    ("bound", "tls", "reason"),
    [
        ("127.0.0.1", False, "it listens on this machine only; --host 0.0.0.0 changes that"),
        ("0.0.0.0", True, "it uses TLS; name it in sources.peers of the others, as https://HOST:8765"),
    ],
)
def test_a_server_that_no_peer_could_use_is_not_announced(
    bound: str, reason: str, caplog: pytest.LogCaptureFixture, *, tls: bool
) -> None:
    settings = SimpleNamespace(lan=SimpleNamespace(enabled=True))
    workspace = cast("Workspace", SimpleNamespace(loaded=SimpleNamespace(settings=settings)))
    with announced(Options(share=True), workspace, Address(bound, bound, 8765, tls)):
        assert [record.getMessage() for record in caplog.records] == [
            f"note: this server is not announced in the local network: {reason}"
        ]


@pytest.mark.parametrize(("share", "enabled"), [(False, True), (True, False)])
def test_a_server_is_announced_only_if_both_is_wished(
    caplog: pytest.LogCaptureFixture, *, share: bool, enabled: bool
) -> None:
    settings = SimpleNamespace(lan=SimpleNamespace(enabled=enabled))
    workspace = cast("Workspace", SimpleNamespace(loaded=SimpleNamespace(settings=settings)))
    with announced(Options(share=share), workspace, Address("0.0.0.0", "0.0.0.0", 8765)):
        assert not caplog.records


# Peers that are no help


def proven() -> Manifest:
    return Manifest("m", "1", (FILE,))


def gateway(stack: ExitStack, number: int) -> Gateway:
    return stack.enter_context(Gateway(f"{number}" * 16, BLOCKS))


def test_a_liar_is_found_within_a_chunk(tmp_path: Path, stack: ExitStack) -> None:
    liar, honest = gateway(stack, 1), gateway(stack, 2)
    liar.sends[FILE.sha256] = flipped(DATA, 100)
    liar.chunk, liar.pause = 1 << 16, 0.005
    events = Machine(tmp_path, [liar.url, honest.url]).ensure(proven())
    assert code(events) == 0
    [failed] = of(events, SourceFailed)
    assert (failed.host, failed.fault) == (liar.host, "hash")
    [committed] = of(events, FileCommitted)
    assert committed.fetched <= len(DATA) + (2 << 20)


def test_without_chunks_a_liar_is_blamed_for_the_whole_file(
    tmp_path: Path, stack: ExitStack, origin: Origin
) -> None:
    liar = stack.enter_context(PeerServer(LARGE))
    liar.sends[sha256(LARGE)] = flipped(LARGE, len(LARGE) - 1)
    events = Machine(tmp_path, [liar.url], origin).ensure(model({"large.bin": LARGE}))
    assert code(events) == 0
    assert [(event.source, event.fault) for event in of(events, SourceFailed)] == [("peer", "hash")]
    assert kinds(events) == {"mirror"}


def test_a_peer_that_is_cut_in_the_middle_is_continued_elsewhere(
    tmp_path: Path, stack: ExitStack, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFETCH_RETRY_ATTEMPTS", "1")
    peer = stack.enter_context(PeerServer(LARGE))
    peer.chunk, peer.cut_after = 1 << 16, 1 << 20
    machine = Machine(tmp_path, [peer.url], origin)
    machine.environ["MODELFETCH_RETRY_ATTEMPTS"] = "1"
    events = machine.ensure(model({"large.bin": LARGE}))
    assert code(events) == 0
    assert sum(request.sent for request in origin.requests) <= len(LARGE) - (1 << 19)


def test_a_peer_that_stalls_is_left(tmp_path: Path, stack: ExitStack, origin: Origin) -> None:
    peer = stack.enter_context(PeerServer(LARGE))
    peer.chunk, peer.pause = 1 << 16, 1.5
    machine = Machine(tmp_path, [peer.url], origin)
    machine.environ |= {"MODELFETCH_NETWORK_STALL_TIMEOUT": "0.3"}
    events = machine.ensure(model({"large.bin": LARGE}))
    assert code(events) == 0
    # First of all; the origin stalls as well if the machine stands still.
    assert of(events, SourceFailed)[0].source == "peer"
    assert kinds(events) == {"mirror"}


@pytest.mark.slow
def test_a_peer_that_drips_is_left(tmp_path: Path, stack: ExitStack, origin: Origin) -> None:
    peer = stack.enter_context(PeerServer(LARGE))
    peer.chunk, peer.pause = 10, 0.02
    machine = Machine(tmp_path, [peer.url], origin)
    limits = {"MODELFETCH_NETWORK_STALL_TIMEOUT": "2", "MODELFETCH_NETWORK_MIN_SPEED": "100 KiB"}
    machine.environ |= limits
    events = machine.ensure(model({"large.bin": LARGE}))
    assert code(events) == 0
    assert kinds(events) == {"mirror"}


@pytest.mark.parametrize(
    "status", [401, 503, *(pytest.param(each, marks=pytest.mark.slow) for each in (403, 404, 421, 429, 500))]
)
def test_whatever_a_peer_answers_the_file_is_fetched(
    status: int, tmp_path: Path, stack: ExitStack, origin: Origin
) -> None:
    peer = stack.enter_context(PeerServer(*FILES.values()))
    peer.statuses = [status]
    machine = Machine(tmp_path, [peer.url], origin)
    machine.environ["MODELFETCH_RETRY_BASE"] = "0.01"
    events = machine.ensure(model({"large.bin": LARGE, "0.json": SMALL[0]}))
    assert code(events) == 0
    assert kinds(events) == {"mirror"}


def test_without_peers_nothing_is_prepared(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [])
    machine.environ["MODELFETCH_SOURCES_PEERS"] = "none"
    loaded = load(flags={}, environ=machine.environ, cwd=tmp_path)
    runtime = assemble(loaded, RunOptions(), Cancellation())
    assert runtime.discover is None
    file = FileSpec("a", 1, "0" * 64)
    assert not [
        offer for offer in runtime.offers((Manifest("m", "1", (file,)), file)) if offer.kind == "peer"
    ]
    runtime.close()
