"""A file over several connections: the same guarantees as over one, whichever of them fails."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.candidates import Candidates
from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    Progress,
    RetryScheduled,
    SourceFailed,
)
from modelfetch.engine.file_chunks import FileChunks
from modelfetch.engine.parallel import THREAD_NAME, ParallelConnections
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.segments import SplitPolicy
from modelfetch.engine.sink import Connection, Sink
from modelfetch.engine.transfer import Transfer
from modelfetch.errors import Fault, SourceError, StoreError
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from modelfetch.sources.base import Stream
from modelfetch.sources.mirror import MirrorSource
from modelfetch.store import Store
from tests.engine.fakes import (
    EAGER,
    NOT_FOUND,
    OK,
    Answer,
    FakeOffer,
    Gate,
    Laboratory,
    SpyDisk,
    all_workers_end,
    body,
    code,
    crash,
    cut,
    flipped,
    last,
    model,
    of,
    refuse,
    sha256,
)
from tests.origin import Origin, Request, faults
from tests.patience import HELD, IN_TIME

CONTENT = body(900_000)
MODEL = model("m", {"f.bin": CONTENT})


def pause() -> None:
    """Let other threads run."""
    time.sleep(0.002)


SLOW = Answer(piece=20_000, before_piece=pause)
FAST = replace(EAGER, max_delay=IN_TIME, sample=100_000, sample_seconds=IN_TIME, fast_speed=0.0)
"""Any connection is fast enough alone, which is known from its 100 kB, whenever they come."""


def together(lab: Laboratory, **how: object) -> Runtime:
    return lab.runtime(split_policy=EAGER, **how)  # type: ignore[arg-type]


def table_of(content: bytes) -> LeafTable:
    """The chunks of a file of at most one chunk."""
    found = Store(Path("nowhere")).chunk_maps.read(sha256(content), len(content))
    assert found is not None
    return found


def got(lab: Laboratory) -> bool:
    return lab.read(MODEL, "f.bin") == CONTENT


def starts(offer: FakeOffer) -> set[int]:
    """Positions in the file at which a request began."""
    return set(offer.asked)


def test_several_connections_fetch_one_file(lab: Laboratory) -> None:
    answer = Answer(piece=20_000, before_piece=lambda: wait_for(lambda: len(starts(offer)) >= 3))
    offer = lab.serve(CONTENT, answer)
    events = lab.ensure(MODEL, runtime=together(lab))
    assert code(events) == 0
    assert got(lab)
    assert all(stream.is_closed for stream in offer.streams)
    assert all_workers_end()


def test_one_connection_is_enough_where_it_is_fast(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT)
    runtime = lab.runtime(split_policy=FAST)
    assert code(lab.ensure(MODEL, runtime=runtime)) == 0
    assert offer.asked == [0, 174_375], "its part of the file as if it were split, and the rest"
    assert runtime.hosts.is_fast("a.example")


def test_a_host_known_to_be_fast_is_asked_for_all_at_once(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT)
    runtime = lab.runtime(split_policy=FAST)
    runtime.hosts.note_speed("a.example", is_fast=True)
    assert code(lab.ensure(MODEL, runtime=runtime)) == 0
    assert offer.asked == [0]


def test_one_connection_is_used_if_one_is_configured(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, SLOW)
    assert code(lab.ensure(MODEL)) == 0
    assert starts(offer) == {0}


def test_progress_counts_the_bytes_of_all_connections(lab: Laboratory) -> None:
    lab.serve(CONTENT, SLOW)
    reported = of(lab.ensure(MODEL, runtime=together(lab)), Progress)
    assert reported[-1].received == len(CONTENT)
    assert [event.received for event in reported] == sorted(event.received for event in reported)


def test_fetched_counts_the_bytes_of_all_connections(lab: Laboratory) -> None:
    lab.serve(CONTENT, SLOW)
    committed = of(lab.ensure(MODEL, runtime=together(lab)), FileCommitted)
    assert len(CONTENT) <= committed[0].fetched <= len(CONTENT) + 5 * SLOW.piece


@pytest.mark.quick(1)
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CUT, Fault.STALL, Fault.CONNECT, Fault.SERVER])
def test_a_refused_parallel_connection_is_no_failure(lab: Laboratory, fault: Fault) -> None:
    lab.serve(CONTENT, SLOW, refuse(fault), refuse(fault), refuse(fault), refuse(fault), SLOW)
    events = lab.ensure(MODEL, runtime=together(lab))
    assert code(events) == 0
    assert got(lab)
    assert not of(events, SourceFailed)


@pytest.mark.parametrize("piece", [7_000, 64_000])
def test_the_rest_of_a_cut_parallel_connection_is_fetched_by_others(lab: Laboratory, piece: int) -> None:
    broken = [cut(most=30_000) for _ in range(2)]
    lab.serve(CONTENT, Answer(piece=piece, before_piece=pause), *broken, SLOW)
    events = lab.ensure(MODEL, runtime=together(lab))
    assert code(events) == 0
    assert got(lab)


@pytest.mark.quick(1)
@pytest.mark.parametrize("error", [IndexError("bug"), ValueError("bug"), RuntimeError("bug"), MemoryError()])
def test_no_error_of_a_parallel_connection_ends_the_run(lab: Laboratory, error: Exception) -> None:
    lab.serve(CONTENT, SLOW, *[crash(error)] * 4, SLOW)
    late = replace(EAGER, max_delay=IN_TIME, sample=1)  # the first connection asks first
    events = lab.ensure(MODEL, runtime=lab.runtime(split_policy=late))
    assert code(events) == 0
    assert got(lab)


def test_a_thread_that_cannot_start_is_no_failure(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == THREAD_NAME:
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    offer = lab.serve(CONTENT, SLOW)
    assert code(lab.ensure(MODEL, runtime=together(lab))) == 0
    assert starts(offer) == {0}


def test_a_connection_stops_at_the_end_of_its_answer(lab: Laboratory) -> None:
    """The range behind its segment stays free, because no byte of it was requested."""
    offer = lab.serve(CONTENT)
    candidates = Candidates([offer])
    with lab.store.partial(MODEL.files[0], True) as partial:
        sink = Sink(lab.runtime(), partial, candidates)
        sink.segments.split(3)
        segment = sink.segments.claim()
        assert segment is not None
        connection = Connection(candidates.remaining()[0], segment)
        assert sum(sink.copy(connection, offer.open(0, segment.end), segment.end)) == segment.end
        assert (connection.segment, connection.segment.left) == (segment, 0)


@pytest.mark.quick(1)
@pytest.mark.parametrize("split_policy", [EAGER, replace(EAGER, connections=1)], ids=["several", "one"])
def test_a_source_that_cuts_every_two_megabytes_delivers(lab: Laboratory, split_policy: SplitPolicy) -> None:
    content = body(16_000_000)
    manifest = model("m", {"f.bin": content})
    lab.serve(content, cut(most=2_000_000))
    events = lab.ensure(manifest, runtime=lab.runtime(split_policy=split_policy))
    assert code(events) == 0
    assert not of(events, SourceFailed)
    assert {event.reason for event in of(events, RetryScheduled)} == {"cut on purpose"}


def test_a_discarded_source_stays_discarded_while_its_parallel_connections_go_on(lab: Laboratory) -> None:
    """The first connection discards it; a parallel one brings its last byte, and its bytes are wrong."""
    wrong, others_are_there, was_left = flipped(CONTENT, 777_777), threading.Event(), threading.Event()

    def wait_to_be_left() -> None:
        others_are_there.set()
        was_left.wait(HELD)

    pieces = iter(range(9))
    too_long = SourceError(Fault.SIZE, "too long")
    first = Answer(
        sends=wrong,
        piece=20_000,
        most=40_000,
        error=too_long,
        before_piece=lambda: others_are_there.wait(HELD) if next(pieces) else None,
    )
    lab.serve(CONTENT, first, Answer(sends=wrong, piece=20_000, before_piece=wait_to_be_left))
    second = lab.serve(CONTENT, OK, kind="url", host="b.example")
    reported: list[Event] = []
    late = replace(EAGER, max_delay=IN_TIME, sample=1)  # the first connection asks first
    for event in lab.follow(MODEL, runtime=lab.runtime(split_policy=late)):
        reported.append(event)
        if isinstance(event, SourceFailed):
            was_left.set()
    assert code(reported) == 0
    assert got(lab)
    assert [event.host for event in of(reported, SourceFailed)].count("a.example") == 1
    assert second.asked[-1] == 0 or not of(reported, FileQuarantined)


def test_the_first_connection_fails_and_falls_back_while_others_go_on(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(most=40_000), SLOW, SLOW, SLOW, SLOW, NOT_FOUND, host="a.example")
    lab.serve(CONTENT, SLOW, kind="url", host="b.example")
    events = lab.ensure(MODEL, runtime=together(lab))
    assert code(events) == 0
    assert got(lab)


def test_a_source_of_whole_files_is_asked_for_whole_files(lab: Laboratory) -> None:
    whole = Answer(whole=True, piece=20_000, before_piece=pause)
    lab.serve(CONTENT, whole)
    events = lab.ensure(MODEL, runtime=together(lab))
    assert code(events) == 0
    assert got(lab)
    assert of(events, FileCommitted)[0].fetched == len(CONTENT)


@pytest.mark.parametrize("wait", [0.0, 0.04], ids=["near", "far"])
def test_no_more_than_a_tenth_is_asked_for_twice(lab: Laboratory, wait: float) -> None:
    """Requested bytes may be in flight when another connection gets them, so all ranges are added up."""
    cancel = Cancellation()
    client = Client(Limits(), cancel)
    with Origin() as origin:
        origin.add("f.bin", CONTENT)
        all_asked, numbers = threading.Event(), count(1)

        def note(_request: Request) -> bool:
            if next(numbers) == 5:
                all_asked.set()
            return True

        origin.fault("*", faults.stall(until=all_asked), times=5, when=note)
        origin.fault("*", faults.late(wait))
        split_policy = replace(EAGER, max_waste=SplitPolicy().max_waste, stall_seconds=IN_TIME)
        runtime = lab.runtime(
            split_policy=split_policy, cancel=cancel, sources=[MirrorSource(client, [origin.mirror])]
        )
        events = lab.ensure(MODEL, runtime=runtime)
        client.close()
    assert code(events) == 0
    spans = [re.fullmatch(r"bytes=(\d+)-(\d+)", request.range or "") for request in origin.requests]
    asked = sum(int(span[2]) + 1 - int(span[1]) for span in spans if span)
    assert len(CONTENT) <= asked <= 1.1 * len(CONTENT)
    assert len(origin.requests) >= 5


def test_an_answer_with_the_whole_file_is_not_cut_for_parts_that_cannot_be_had(lab: Laboratory) -> None:
    """Parallel connections request parts before it is known that the source sends whole files only."""
    asked = threading.Barrier(5)
    first = Answer(whole=True, piece=20_000)
    offer = lab.serve(CONTENT, first)
    asking = offer.open

    def open_together(offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        if offer.asked.count(0) == 0 or offset:
            asked.wait(HELD)  # all of them ask at the same time
        return asking(offset, end, first_byte)

    offer.open = open_together  # type: ignore[method-assign]
    events = lab.ensure(MODEL, runtime=together(lab))
    assert code(events) == 0
    assert got(lab)
    assert offer.asked.count(0) == 1
    assert of(events, FileCommitted)[0].fetched == len(CONTENT)


def test_a_source_of_whole_files_fills_gaps_between_bytes_of_an_earlier_run(lab: Laboratory) -> None:
    with lab.store.partial(MODEL.files[0], True) as partial:
        partial.put(100_000, CONTENT[100_000:200_000], "mirror earlier")
        partial.put(400_000, CONTENT[400_000:700_000], "mirror earlier")
    offer = lab.serve(CONTENT, Answer(whole=True))
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert offer.asked[-1] == 0


def test_gaps_of_an_earlier_run_are_all_that_is_asked_for(lab: Laboratory) -> None:
    with lab.store.partial(MODEL.files[0], True) as partial:
        partial.put(0, CONTENT[:250_000], "mirror earlier")
        partial.put(400_000, CONTENT[400_000:700_000], "mirror earlier")
    offer = lab.serve(CONTENT)
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert offer.asked == [250_000, 700_000]
    assert of(events, FileCommitted)[0].fetched == 350_000


def test_several_sources_send_one_file_when_a_host_has_too_many_connections(lab: Laboratory) -> None:
    first_waits = Answer(piece=20_000, before_piece=lambda: wait_for(lambda: bool(second.asked)))
    first = lab.serve(CONTENT, first_waits, host="a.example")
    second = lab.serve(CONTENT, SLOW, kind="url", host="b.example")
    runtime = together(lab)
    for _ in range(6):  # other files use most of the connections
        assert runtime.hosts.acquire_connection("a.example")
    assert code(lab.ensure(MODEL, runtime=runtime)) == 0
    assert got(lab)
    assert 0 in starts(first)


@pytest.mark.parametrize("how", ["it failed", "its host failed for another file", "it was discarded"])
def test_parallel_connections_never_use_a_source_that_failed(lab: Laboratory, how: str) -> None:
    bad = lab.serve(CONTENT, host="a.example")
    good = lab.serve(CONTENT, kind="url", host="b.example")
    candidates, runtime = Candidates([bad, good]), together(lab)
    first = candidates.remaining()[0]
    if how == "it failed":
        candidates.count_failure(first)
    elif how == "it was discarded":
        candidates.discard(first)
    else:
        runtime.hosts.record_failure("a.example", SourceError(Fault.SERVER, "502"), "another file")
    with lab.store.partial(MODEL.files[0], True) as partial:
        sink = Sink(runtime, partial, candidates)
        parallel = ParallelConnections(runtime, sink, candidates)
        parallel.start(len(CONTENT))
        sink.probe.ask()
        wait_for(lambda: not parallel.is_working)
        assert partial.received == len(CONTENT)
    assert bad.asked == []
    assert len(good.asked) > 1


@pytest.mark.parametrize(
    ("fault", "is_checked", "goes_on"),
    [(Fault.CONNECT, False, True), (Fault.CUT, False, False), (Fault.CUT, True, True)],
)
def test_a_parallel_connection_goes_on_with_another_source(
    lab: Laboratory, fault: Fault, is_checked: bool, goes_on: bool
) -> None:
    """If its own one cannot be reached; after any other failure only where chunks are checked."""
    bad = lab.serve(CONTENT, *[refuse(fault)] * 9, host="a.example")
    good = lab.serve(CONTENT, host="b.example")
    candidates, runtime = Candidates([bad, good]), together(lab)
    with lab.store.partial(MODEL.files[0], True) as partial:
        sink = Sink(runtime, partial, candidates, FileChunks(table_of(CONTENT) if is_checked else None))
        parallel = ParallelConnections(runtime, sink, candidates)
        parallel.start(len(CONTENT))
        sink.probe.ask()
        wait_for(lambda: not parallel.is_working)
        assert partial.received == (len(CONTENT) if goes_on else 0)
    assert len(bad.asked) < runtime.split_policy.connections, "each thread asks it once"


def test_wrong_bytes_of_one_source_are_blamed_on_it_alone(lab: Laboratory) -> None:
    lab.serve(CONTENT, Answer(sends=flipped(CONTENT, 777_777), piece=20_000, before_piece=pause))
    lab.serve(CONTENT, SLOW, kind="url", host="b.example")
    events = lab.ensure(MODEL, runtime=together(lab))
    assert code(events) == 0
    assert got(lab)
    assert [event.source for event in of(events, FileQuarantined)] == ["mirror a.example"]
    assert [(event.host, event.fault) for event in of(events, SourceFailed)] == [("a.example", "hash")]


def test_wrong_bytes_of_several_sources_are_fetched_again(lab: Laboratory) -> None:
    wrong = Answer(sends=body(len(CONTENT), 1), piece=20_000, before_piece=pause)
    lab.serve(CONTENT, wrong, host="a.example")
    lab.serve(CONTENT, SLOW, kind="url", host="b.example")
    runtime = together(lab)
    for _ in range(7):
        assert runtime.hosts.acquire_connection("a.example")
    events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 0
    assert got(lab)
    assert of(events, FileQuarantined)


def test_no_parallel_connections_once_each_source_must_send_the_whole_file(lab: Laboratory) -> None:
    """Otherwise they would write while the file is reset for the next source."""
    lab.begin(CONTENT, "mirror old.example", 100_000, wrong=b"x")
    first = lab.serve(CONTENT, OK, SLOW, host="a.example")
    second = lab.serve(CONTENT, SLOW, kind="url", host="b.example")
    late = replace(EAGER, max_delay=IN_TIME, sample=1 << 40, sample_seconds=0.02)
    events = lab.ensure(MODEL, runtime=lab.runtime(split_policy=late))
    assert code(events) == 0
    assert got(lab)
    assert of(events, FileQuarantined)
    assert (first.asked[0], first.asked[-1], second.asked) == (100_000, 0, [])


def test_a_file_that_another_connection_completes_is_verified_before_it_is_judged(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It brings the last bytes when the first connection has just seen that some are missing."""
    offer = lab.serve(CONTENT)
    is_complete = vars(Transfer)["is_complete"].fget

    def before_the_last_bytes(transfer: Transfer) -> bool:
        found = bool(is_complete(transfer))
        if not offer.asked:
            segment = transfer.sink.segments.claim()
            assert segment is not None
            other = Connection(transfer.candidates.remaining()[0], segment)
            assert sum(transfer.sink.copy(other, offer.open(0), len(CONTENT))) == len(CONTENT)
            transfer.sink.segments.release(segment)
        return found

    monkeypatch.setattr(Transfer, "is_complete", property(before_the_last_bytes))
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert not of(events, FileQuarantined)


def test_a_full_disk_met_by_a_parallel_connection_ends_the_run(lab: Laboratory) -> None:
    written: list[int] = []

    def refuses(operation: str, path: object) -> bool:
        if operation == "write" and str(path).endswith("data"):
            written.append(1)
        return len(written) > 20

    lab.serve(CONTENT, SLOW)
    store = Store(lab.root, disk=SpyDisk(refuses))
    events = lab.ensure(MODEL, runtime=together(lab, store=store))
    assert code(events) == last(events).exit_code != 0
    assert not list(lab.root.glob("blobs/**/*"))[1:] or not lab.place(MODEL, "f.bin").exists()
    assert all_workers_end()


def test_the_failure_of_a_connection_is_raised_where_it_is_asked_for(lab: Laboratory) -> None:
    candidates = Candidates([lab.serve(CONTENT)])
    store = Store(
        lab.root, disk=SpyDisk(lambda operation, path: operation == "write" and path.name == "data")
    )
    runtime = together(lab, store=store)
    with store.partial(MODEL.files[0], True) as partial:
        sink = Sink(runtime, partial, candidates)
        parallel = ParallelConnections(runtime, sink, candidates)
        parallel.raise_failure()
        parallel.start(len(CONTENT))
        assert parallel.is_working
        sink.probe.ask()
        wait_for(lambda: not parallel.is_working)
        with pytest.raises(StoreError):
            parallel.raise_failure()


def wait_for(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + IN_TIME
    while not is_true() and time.monotonic() < until:
        time.sleep(0.002)
    assert is_true()


def test_cancelling_keeps_the_bytes_of_all_connections(lab: Laboratory) -> None:
    cancel = Cancellation()
    gates = [Gate(cancel) for _ in range(5)]

    def hold(gate: Gate) -> Answer:
        calls = iter(range(1000))
        return Answer(piece=20_000, before_piece=lambda: gate() if next(calls) == 3 else None)

    lab.serve(CONTENT, *map(hold, gates))
    runtime = together(lab, cancel=cancel)
    following = threading.Thread(target=lambda: lab.ensure(MODEL, runtime=runtime))
    following.start()
    wait_for(lambda: all(gate.reached.is_set() for gate in gates))
    cancel.cancel()
    following.join(IN_TIME)
    assert not following.is_alive()
    assert all_workers_end()
    assert lab.store.held(MODEL.files[0]) == 5 * 3 * 20_000
    offer = Laboratory(lab.root).serve(CONTENT, OK)
    other = Laboratory(lab.root)
    offer = other.serve(CONTENT, OK)
    events = other.ensure(MODEL)
    assert code(events) == 0
    assert of(events, FileCommitted)[0].fetched == len(CONTENT) - 5 * 3 * 20_000
    assert len(offer.asked) == 5


@pytest.mark.slow
def test_a_stalled_segment_is_taken_over(lab: Laboratory) -> None:
    cancel = Cancellation()
    gate = Gate(cancel)

    def hold() -> None:
        # Whichever connection is asked second: the first one has no other to take over from it here.
        if threading.current_thread().name == THREAD_NAME:
            gate()

    lab.serve(CONTENT, SLOW, Answer(piece=20_000, before_piece=hold), SLOW)
    started = time.monotonic()
    runtime = lab.runtime(split_policy=replace(EAGER, stall_seconds=0.05), cancel=cancel)
    events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 0
    assert got(lab)
    assert time.monotonic() - started < IN_TIME
    gate.opened.set()


def test_a_busy_host_gets_fewer_connections(lab: Laboratory) -> None:
    first = Answer(piece=20_000, before_piece=lambda: wait_for(lambda: len(offer.asked) >= 2))
    offer = lab.serve(CONTENT, first, refuse(Fault.BUSY), SLOW)
    runtime = together(lab)
    assert code(lab.ensure(MODEL, runtime=runtime)) == 0
    for _ in range(5):
        runtime.hosts.acquire_connection("a.example")
    assert not runtime.hosts.acquire_connection("a.example")
