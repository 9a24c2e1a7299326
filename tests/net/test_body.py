"""Reading bodies: exact length, silence, and low speed."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Limits, Memory, SpeedFloor
from tests.engine.fakes import FakeClock, TickingClock
from tests.net.asking import BOTH_WAYS, FILE, NEARLY_ALL, PATIENT, SIZE, get
from tests.origin import Fault as OriginFault
from tests.origin import Origin, faults
from tests.patience import HELD, IN_TIME

# Complete bodies, with each way of marking their end


@pytest.mark.quick(every=5)
@BOTH_WAYS
@pytest.mark.parametrize("start", [0, 1, 50_000, SIZE - 1])
@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(None, id="length"),
        pytest.param(faults.chunked(), id="chunked"),
        pytest.param(faults.chunked_with_length(), id="chunked with length"),
        pytest.param(faults.no_length(), id="close-delimited"),
        pytest.param(faults.http_1_0(), id="HTTP/1.0"),
        pytest.param(faults.two_lengths(0), id="the same length twice"),
        pytest.param(faults.glued(10), id="glued to the head"),
        pytest.param(faults.unknown_total(), id="unknown total"),
    ],
)
def test_a_good_body_is_read_whole(
    origin: Origin, client: Client, url: str, framing: OriginFault | None, start: int
) -> None:
    if framing:
        origin.fault("*", framing)
    got = get(client, url, start)
    assert got.error is None
    assert (got.start, got.data) == (start, FILE[start:])


@BOTH_WAYS
def test_a_shorter_range_ends_early_without_error(origin: Origin, client: Client, url: str) -> None:
    """A server may send less than requested (RFC 9110, 15.3.7); the rest is requested again."""
    origin.fault("*", faults.shorter_range(1000))
    got = get(client, url, 500)
    assert got.error is None
    assert got.data == FILE[500:1500]


# Bodies that end early


@pytest.mark.quick(every=3)
@BOTH_WAYS
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("at", [0, 1, 999, 65_536, SIZE - 1])
def test_a_cut_keeps_every_byte_that_came(
    origin: Origin, client: Client, url: str, at: int, reset: bool
) -> None:
    origin.fault("*", faults.cut(at, reset=reset))
    got = get(client, url)
    assert got.failure.fault is Fault.CUT
    assert got.failure.retry
    assert got.data == (FILE[: len(got.data)] if reset else FILE[:at])


@BOTH_WAYS
@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        pytest.param(faults.no_length_cut(1000), 1000, id="close-delimited"),
        pytest.param(faults.no_length_cut(0), 0, id="close-delimited, nothing"),
        pytest.param(faults.all_of(faults.chunked(), faults.cut(1000)), 1000, id="inside a chunk"),
    ],
)
def test_ends_that_only_counting_finds(
    origin: Origin, client: Client, url: str, fault: OriginFault, kept: int
) -> None:
    origin.fault("*", fault)
    got = get(client, url)
    assert got.failure.fault is Fault.CUT
    assert got.data == FILE[:kept]


@pytest.mark.quick(every=5)
@BOTH_WAYS
@pytest.mark.parametrize("offset", [0, 1, 8, 9, 16, 17, 60, 100, 200])
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_a_cut_inside_the_head(origin: Origin, client: Client, url: str, offset: int, reset: bool) -> None:
    origin.fault("*", faults.cut_head(offset, reset=reset))
    got = get(client, url)
    assert got.failure.fault is Fault.CUT
    assert got.failure.retry
    assert got.data == b""


# Bodies that are too long


@BOTH_WAYS
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            faults.all_of(faults.ignored_range(), faults.too_many(1), faults.chunked()), id="chunked"
        ),
        pytest.param(
            faults.all_of(faults.ignored_range(), faults.too_many(70_000), faults.no_length()),
            id="close-delimited",
        ),
    ],
)
def test_bytes_beyond_the_end_are_never_yielded(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    """Further bytes are not waited for: the digest shows whether the file is right."""
    origin.fault("*", fault)
    got = get(client, url)
    assert got.error is None or got.error.fault is Fault.SIZE
    assert got.data == FILE


@BOTH_WAYS
def test_endless_data_is_stopped_at_the_first_byte_too_many(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.all_of(faults.ignored_range(), faults.too_many(500_000_000), faults.no_length()))
    got = get(client, url)
    assert got.error is None or got.error.fault is Fault.SIZE
    assert got.data == FILE
    assert origin.bytes_sent < 50_000_000


@BOTH_WAYS
def test_a_range_that_announces_more_is_refused(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.too_many(1000))
    got = get(client, url, 400)
    assert got.failure.fault is Fault.SIZE
    assert got.data == b""


# Wrong bytes of the right length are not detected here, but by the digest


@BOTH_WAYS
def test_right_length_with_a_flipped_bit_passes_through(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.flipped(at=7))
    got = get(client, url)
    assert got.error is None
    assert len(got.data) == SIZE
    assert got.data != FILE


# Silence


@BOTH_WAYS
@pytest.mark.parametrize("at", [0, 1000, SIZE - 1])
def test_a_stalled_body_is_found_in_time(origin: Origin, url: str, at: int, direct_from: float) -> None:
    origin.fault("*", faults.stall(at))
    clock, data = TickingClock(), bytearray()
    with closing(Client(replace(PATIENT, direct_from=direct_from), Cancellation(), clock)) as client:
        body = client.request(url, RangeRequest(0, SIZE), credential=None, memory=Memory())
        pieces = iter(body)
        while len(data) < at:
            data += next(pieces)
        clock.step = NEARLY_ALL
        with closing(body), pytest.raises(SourceError) as caught:
            next(pieces)
    assert data == FILE[:at]
    assert caught.value.fault is Fault.STALL
    assert caught.value.retry


@BOTH_WAYS
@pytest.mark.parametrize("fault", [faults.stall(), faults.stall_head(30), faults.late(HELD)])
def test_no_answer_in_time(origin: Origin, hasty: Client, url: str, fault: OriginFault) -> None:
    origin.fault("*", fault)
    started = time.monotonic()
    got = get(hasty, url)
    assert got.failure.fault is Fault.TIMEOUT
    assert got.failure.retry
    assert time.monotonic() - started < IN_TIME


@BOTH_WAYS
def test_a_body_that_is_not_read_for_a_while_is_not_slow(
    origin: Origin, url: str, direct_from: float
) -> None:
    """Only time spent waiting for the network counts, not a slow disk or a rate limit of our own."""
    clock = FakeClock()
    limits = Limits(stall_timeout=IN_TIME, min_speed=1e9, direct_from=direct_from)
    with closing(Client(limits, Cancellation(), clock)) as client:
        body = client.request(url, RangeRequest(0, SIZE), credential=None, memory=Memory())
        data = bytearray()
        for piece in body:
            data += piece
            clock.now += 10 * IN_TIME
        body.close()
    assert data == FILE


# SpeedFloor alone


def add_all(floor: SpeedFloor, *reads: tuple[int, float]) -> None:
    for count, waited in reads:
        floor.add(count, waited)


def test_below_the_floor_for_a_whole_window() -> None:
    floor = SpeedFloor(minimum=1000, window=3.0)
    add_all(floor, (999, 1.0), (999, 1.0))
    with pytest.raises(SourceError) as caught:
        floor.add(999, 1.0)
    assert caught.value.fault is Fault.STALL


def test_exactly_the_floor_is_enough() -> None:
    add_all(SpeedFloor(minimum=1000, window=3.0), *[(1000, 1.0)] * 20)


def test_an_early_burst_is_no_credit_for_ever() -> None:
    floor = SpeedFloor(minimum=1000, window=3.0)
    add_all(floor, (10_000_000, 1.0))
    with pytest.raises(SourceError):
        add_all(floor, *[(1, 1.0)] * 8)


def test_a_pause_shorter_than_the_window_is_forgiven() -> None:
    add_all(SpeedFloor(minimum=1000, window=3.0), *[(4000, 0.1), (0, 2.5)] * 20)


def test_without_a_floor_nothing_is_too_slow() -> None:
    add_all(SpeedFloor(minimum=0, window=0.1), *[(0, 10.0)] * 20)


def test_memory_stays_flat_over_many_reads() -> None:
    """40 GB over TLS are millions of reads, each with almost no wait."""
    floor = SpeedFloor(minimum=1024, window=30.0)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            floor.add(16_384, 0.000_01)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 5)), max_size=50))
def test_a_source_that_always_keeps_the_floor_is_never_ended(reads: list[tuple[int, float]]) -> None:
    floor = SpeedFloor(minimum=1000, window=3.0)
    for extra, waited in reads:
        floor.add(int(1000 * waited) + 1 + extra, waited)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=100))
def test_a_source_that_never_keeps_it_is_ended_within_two_windows(waits: list[float]) -> None:
    floor = SpeedFloor(minimum=1000, window=3.0)
    ended = False
    for waited in waits:
        try:
            floor.add(int(900 * waited), waited)
        except SourceError:
            ended = True
    assert ended or sum(waits) < 6.0
