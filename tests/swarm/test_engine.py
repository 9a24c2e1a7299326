"""The engine by libtorrent, in its process: nodes on this host exchange files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from modelfetch.swarm.child import MALFORMED
from modelfetch.swarm.child_process import command
from modelfetch.swarm.engine import (
    EngineError,
    HashFailed,
    MetadataReceived,
    Mode,
    PieceFinished,
    Ready,
    Removed,
    Restarted,
    Status,
    TorrentSpec,
)
from modelfetch.swarm.frames import frame
from modelfetch.swarm.metainfo import parse_info
from tests.origin import refusing_port
from tests.patience import IN_TIME
from tests.swarm.liar import Liar
from tests.swarm.nodes import Node, address, metainfo_of, some_files, until, written
from tests.swarm.relay import Relay
from tests.swarm.torrent_pieces import has_piece, pieces_of

pytest.importorskip("libtorrent")

FILES = some_files()
METAINFO = metainfo_of(FILES)
START = frame(
    {"do": "start", "staging": "@STAGING@", "peer_id": "", "listen": ["127.0.0.1"], "discovers_lan": False}
)
MakeNode = Callable[..., Node]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MakeNode]:
    """Makes nodes that are closed after the test."""
    made: list[Node] = []

    def make(**options: Any) -> Node:
        made.append(Node(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.engine.close()


@pytest.fixture
def seed(node: MakeNode, tmp_path: Path) -> Node:
    """A node that has everything."""
    made = node()
    made.seed(METAINFO, written(tmp_path, FILES))
    return made


def piece_data(piece: int) -> bytes:
    """The bytes of a piece."""
    place = METAINFO.piece(piece)
    return FILES[place.file.path][place.offset : place.offset + place.size]


def is_ready(event: object) -> bool:
    return isinstance(event, Ready)


@pytest.mark.slow
def test_a_piece_is_in_its_file_as_soon_as_it_is_reported(seed: Node, node: MakeNode) -> None:
    leech = node()
    leech.leech(METAINFO, seed.endpoint)
    place = leech.paths(METAINFO)
    seen: set[int] = set()
    while len(seen) < METAINFO.pieces:
        leech.until(lambda event: isinstance(event, PieceFinished))
        for piece in leech.pieces[METAINFO.infohash] - seen:
            seen.add(piece)
            where = METAINFO.piece(piece)
            with place[where.file.path].open("rb") as file:
                file.seek(where.offset)
                assert has_piece(METAINFO, piece, file.read(where.size))
    assert leech.content(METAINFO) == FILES
    assert {path.suffix for path in leech.staging.iterdir()} == {".data"}


@pytest.mark.slow
def test_peers_are_known_by_the_peer_id_that_was_chosen(seed: Node, node: MakeNode) -> None:
    leech = node(download_rate=500_000)
    leech.leech(METAINFO, seed.endpoint)
    # After the handshake, which has the peer ID, a peer says what it has, and what it calls itself.
    event = leech.until(
        lambda event: (
            isinstance(event, Status)
            and any(peer.is_seed and peer.client.startswith("modelfetch/") for peer in event.peers)
        )
    )
    assert isinstance(event, Status)
    [peer] = event.peers
    assert (peer.peer_id, peer.address) == (seed.peer_id.hex(), seed.endpoint)


@pytest.mark.slow
def test_files_that_are_not_wanted_are_not_fetched(seed: Node, node: MakeNode) -> None:
    leech = node()
    wanted = {"config.json": leech.staging / "c", "onnx/decoder.onnx": leech.staging / "d"}
    leech.leech(METAINFO, seed.endpoint, paths=wanted)
    pieces = {*pieces_of(METAINFO, "config.json"), *pieces_of(METAINFO, "onnx/decoder.onnx")}
    leech.until(lambda _: leech.pieces.get(METAINFO.infohash) == pieces)
    assert {path.name for path in leech.staging.iterdir()} == {"c", "d"}
    assert (leech.staging / "d").read_bytes() == FILES["onnx/decoder.onnx"]


@pytest.mark.slow
def test_pieces_that_were_added_are_hashed_and_passed_on(node: MakeNode) -> None:
    reader, leech = node(), node()
    reader.leech(METAINFO)
    leech.leech(METAINFO, reader.endpoint)
    reader.engine.add_piece(METAINFO.infohash, 0, piece_data(0))  # ignored if it comes before Ready
    reader.until(is_ready)
    reader.engine.add_piece(METAINFO.infohash, 5, bytes(len(piece_data(5))))
    failed = reader.until(lambda event: isinstance(event, HashFailed))
    assert failed == HashFailed(METAINFO.infohash, 5)
    for piece in range(METAINFO.pieces):
        reader.engine.add_piece(METAINFO.infohash, piece, piece_data(piece))
    reader.until_complete(METAINFO)
    leech.until_complete(METAINFO)
    assert reader.content(METAINFO) == leech.content(METAINFO) == FILES
    with pytest.raises(ValueError, match="has 8 bytes"):
        reader.engine.add_piece(METAINFO.infohash, 0, b"")


@pytest.mark.slow
def test_a_crash_in_the_middle_costs_a_restart(seed: Node, node: MakeNode) -> None:
    leech = node(download_rate=2_000_000)
    leech.leech(METAINFO, seed.endpoint)
    leech.until(lambda event: isinstance(event, PieceFinished))
    before = leech.engine.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    event = leech.until(lambda event: isinstance(event, Restarted))
    assert event == Restarted("the engine of the swarm was ended by signal SIGKILL")
    leech.until_complete(METAINFO)
    assert leech.content(METAINFO) == FILES
    assert leech.engine.pid != before


@pytest.mark.slow
def test_damaged_staging_files_are_found_and_fetched_again(seed: Node, node: MakeNode) -> None:
    leech = node()
    place = leech.paths(METAINFO)["onnx/encoder.onnx"]
    damaged = bytearray(FILES["onnx/encoder.onnx"])
    damaged[1_000_000] ^= 1
    place.write_bytes(damaged[:3_000_000])
    leech.leech(METAINFO)
    leech.until(is_ready)
    first = pieces_of(METAINFO, "onnx/encoder.onnx")[0]
    there = {piece - first for piece in leech.pieces[METAINFO.infohash]}
    assert there == {*range(3_000_000 // METAINFO.piece_length)} - {1_000_000 // METAINFO.piece_length}
    leech.engine.peers(METAINFO.infohash, [seed.endpoint])
    leech.until_complete(METAINFO)
    assert leech.content(METAINFO) == FILES


@pytest.mark.slow
def test_metadata_comes_from_peers_and_is_checked_before_a_file_is_named(seed: Node, node: MakeNode) -> None:
    leech = node()
    leech.engine.add(TorrentSpec(METAINFO.infohash, peers=(seed.endpoint,)))
    event = leech.until(lambda event: isinstance(event, MetadataReceived))
    assert isinstance(event, MetadataReceived)
    found = parse_info(event.info)
    assert (found.infohash, found.has_layers) == (METAINFO.infohash, False)
    assert [*leech.staging.iterdir()] == []
    leech.leech(found, seed.endpoint)
    leech.until_complete(METAINFO)
    assert leech.content(METAINFO) == FILES
    assert not any(isinstance(event, Removed) for event in leech.events)


@pytest.mark.slow
def test_a_lying_peer_is_found_out(seed: Node, node: MakeNode) -> None:
    leech = node()
    leech.leech(METAINFO)
    leech.until(is_ready)
    with Liar(METAINFO, leech.endpoint, address()) as liar:
        leech.until(lambda event: isinstance(event, HashFailed))
        assert METAINFO.infohash not in leech.pieces
        leech.engine.peers(METAINFO.infohash, [seed.endpoint])
        leech.until_complete(METAINFO)
        assert liar.blocks
    assert leech.content(METAINFO) == FILES


@pytest.mark.slow
def test_a_seed_never_writes_even_if_its_file_is_damaged(node: MakeNode, tmp_path: Path) -> None:
    paths = written(tmp_path, FILES)
    place = paths["onnx/encoder.onnx"]
    place.chmod(0o644)
    damaged = bytearray(FILES["onnx/encoder.onnx"])
    damaged[1_000_000] ^= 1
    place.write_bytes(damaged)
    first, other, leech = node(), node(), node()
    other.seed(METAINFO, written(tmp_path / "good", FILES))
    first.seed(METAINFO, paths, other.endpoint)
    leech.leech(METAINFO, first.endpoint)
    wrong = pieces_of(METAINFO, "onnx/encoder.onnx")[0] + 1_000_000 // METAINFO.piece_length
    # It has all but the damaged piece; that one is known to be damaged before it is sent.
    leech.until(lambda _: len(leech.pieces.get(METAINFO.infohash, ())) >= METAINFO.pieces // 2)
    leech.engine.peers(METAINFO.infohash, [other.endpoint])
    leech.until_complete(METAINFO)
    assert wrong in leech.pieces[METAINFO.infohash]
    assert leech.content(METAINFO) == FILES
    assert place.read_bytes() == damaged


def test_the_last_figures_of_a_torrent_that_is_replaced_are_reported(
    seed: Node, node: MakeNode, tmp_path: Path
) -> None:
    """As for a model that was fetched and is uploaded from its final place at once: all bytes count."""
    leech = node()
    leech.leech(METAINFO, seed.endpoint)
    leech.until_complete(METAINFO)
    leech.seed(METAINFO, written(tmp_path / "final", FILES))
    leech.engine.remove(METAINFO.infohash)
    leech.until(lambda event: event == Removed(METAINFO.infohash))
    statuses = [event for event in leech.events if isinstance(event, Status)]
    [replaced, removed] = [status for status in statuses if status.is_last]  # the first may come after Ready
    assert replaced.downloaded >= METAINFO.size
    assert removed.downloaded == 0
    assert statuses[-1] is removed


def open_paths(pid: int | None) -> list[str]:
    """Where the descriptors of a process lead."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(each))
    return found


@on_linux
@pytest.mark.slow
def test_a_removed_torrent_has_no_open_file(seed: Node, node: MakeNode) -> None:
    leech = node(download_rate=2_000_000)
    leech.leech(METAINFO, seed.endpoint)
    leech.until(lambda event: isinstance(event, PieceFinished))
    leech.engine.remove(METAINFO.infohash)
    leech.until(lambda event: event == Removed(METAINFO.infohash))
    assert not [path for path in open_paths(leech.engine.pid) if path.startswith(str(leech.staging))]
    assert not any(isinstance(event, Status) for event in leech.engine.events(1.0))
    leech.leech(METAINFO, seed.endpoint)
    leech.until(lambda event: isinstance(event, PieceFinished))


@pytest.mark.slow
def test_the_limit_holds_for_peers_on_loopback(node: MakeNode, tmp_path: Path) -> None:
    files = some_files(1 << 20)
    seed, leech, metainfo = node(upload_rate=1_000_000), node(), metainfo_of(files)
    seed.seed(metainfo, written(tmp_path, files))
    started = time.monotonic()
    leech.leech(metainfo, seed.endpoint)
    leech.until_complete(metainfo)
    assert time.monotonic() - started > metainfo.size / 1_000_000 / 2


@on_linux
def test_the_child_gets_no_secret(node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = Path(f"/proc/{node().engine.pid}/environ").read_bytes()
    assert b"secret" not in found
    assert b"PATH=" in found


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"  # nobody reaps it in a container
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or while it was read
        return True


@on_linux
@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_child_ends_with_the_run_that_is_killed(tmp_path: Path, *, is_stopped: bool) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from modelfetch.swarm.client import EngineClient\n"
        "from modelfetch.swarm.engine import EngineOptions\n"
        "engine = EngineClient()\n"
        f"engine.start(EngineOptions(pathlib.Path({str(tmp_path)!r}), listen=('127.0.0.1',)))\n"
        "print(engine.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        child = int(run.stdout.readline())
        if is_stopped:
            os.kill(child, signal.SIGSTOP)
        run.kill()
    until(lambda: has_ended(child))


@pytest.mark.quick(1)
@pytest.mark.parametrize("sent", [b"not a frame\n", b'{"do": "start"}\n', START + b'{"do": "dance"}\n'])
def test_what_is_malformed_ends_the_child_with_a_line(tmp_path: Path, sent: bytes) -> None:
    sent = sent.replace(b"@STAGING@", os.fsencode(tmp_path))
    done = subprocess.run(command(), input=sent, capture_output=True, check=False, timeout=IN_TIME)
    assert (done.returncode, done.stderr.count(b"\n")) == (MALFORMED, 1)
    assert done.stderr.startswith(b"malformed frame: ")


@pytest.mark.slow
def test_what_cannot_be_added_is_reported_and_the_others_go_on(seed: Node, node: MakeNode) -> None:
    leech, other = node(), metainfo_of(some_files(seed=2), "other")
    missing = {file.path: Path("/nowhere") / file.path for file in other.files}
    leech.engine.add(TorrentSpec(other.infohash, other.encode(), missing, Mode.SEED))
    event = leech.until(lambda event: isinstance(event, EngineError))
    assert isinstance(event, EngineError)
    assert event.is_fatal
    assert event.infohash == other.infohash
    leech.leech(METAINFO, seed.endpoint)
    leech.until_complete(METAINFO)


def test_what_is_malformed_is_refused_at_once(node: MakeNode, tmp_path: Path) -> None:
    leech = node()
    spec = TorrentSpec(METAINFO.infohash, METAINFO.encode())
    cases = [
        (TorrentSpec("0" * 64, METAINFO.encode()), "another infohash"),
        (TorrentSpec(METAINFO.infohash, b"de"), "info must be"),
        (TorrentSpec(spec.infohash, spec.metainfo, {"config.json": tmp_path / "x"}), "not below"),
        (TorrentSpec(spec.infohash, spec.metainfo, {"config.json": leech.staging / "../x"}), "not below"),
        (TorrentSpec(spec.infohash, spec.metainfo, {"config.json": Path("x")}), "not absolute"),
        (TorrentSpec(spec.infohash, spec.metainfo, {"config.json": leech.staging / "\udc80"}), "surrogates"),
        (TorrentSpec(spec.infohash, peers=("example.org:1",)), "does not appear"),
        (TorrentSpec(spec.infohash, peers=("10.0.0.1:0",)), "no port"),
    ]
    for bad, reason in cases:
        with pytest.raises(ValueError, match=reason):
            leech.engine.add(bad)


@pytest.mark.slow
def test_connections_are_encrypted_where_both_sides_can(seed: Node, node: MakeNode) -> None:
    leech, relay = node(), Relay(seed.endpoint)
    with relay:
        leech.leech(METAINFO, relay.endpoint)
        leech.until_complete(METAINFO)
    assert len(relay.seen) > METAINFO.size
    assert b"BitTorrent protocol" not in relay.seen
    assert FILES["onnx/encoder.onnx"][:64] not in relay.seen


def test_a_tracker_that_answers_at_no_address_is_reported(node: MakeNode) -> None:
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}/announce"
        made = node()
        paths = made.paths(METAINFO)
        made.engine.add(TorrentSpec(METAINFO.infohash, METAINFO.encode(), paths, Mode.LEECH, trackers=(url,)))
        event = made.until(lambda event: isinstance(event, EngineError) and bool(event.tracker))
    assert isinstance(event, EngineError)
    assert (event.tracker, event.is_fatal) == (url, False)
    assert "refused" in event.message.lower()


def endpoint(*fails: int) -> dict[str, Any]:
    return {"info_hashes": [{"fails": each} for each in fails]}


@pytest.mark.parametrize(
    ("endpoints", "is_verified", "expected"),
    [
        ([endpoint(0, 1), endpoint(0, 2)], False, True),
        ([endpoint(0, 1), endpoint(0, 0)], False, False),  # asked from that address at this moment
        ([endpoint(0, 1)], True, False),  # it has answered before
    ],
)
def test_a_tracker_has_failed_when_it_answered_none(
    endpoints: list[dict[str, Any]], *, is_verified: bool, expected: bool
) -> None:
    from modelfetch.swarm.libtorrent_torrent import has_failed  # loads libtorrent

    tracker = {"url": "http://a/announce", "verified": is_verified, "endpoints": endpoints}
    assert has_failed([tracker], "http://a/announce") == expected
    assert not has_failed([tracker], "http://b/announce")
