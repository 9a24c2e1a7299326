"""The stall timer: only bytes of the file end the silence of a request."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import httpcore
import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.httpcore_backend import HeadScanner
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Limits, Memory, StallTimer
from modelfetch.net.transport import MAX_INTERIM
from tests.net.asking import BOTH_WAYS, FILE, SIZE, Got, get
from tests.origin.channel import Channel
from tests.origin.listener import Listener

LIMITS = Limits(connect_timeout=10.0, stall_timeout=30.0, min_speed=1000.0)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % SIZE
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


# The timer alone


class Time:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def timer(time: Time) -> StallTimer:
    return StallTimer(LIMITS, time)


def test_silence_counts_from_the_request_on(time: Time, timer: StallTimer) -> None:
    assert timer.remaining() == 30.0
    time.now += 29.0
    assert timer.remaining() == 1.0
    time.now += 1.0
    with pytest.raises(TimeoutError):
        timer.remaining()


def test_only_a_wanted_byte_ends_the_silence(time: Time, timer: StallTimer) -> None:
    time.now += 29.0
    timer.count_bytes(1)
    assert timer.remaining() == 30.0


def test_silence_goes_on_where_it_was_after_a_pause(time: Time, timer: StallTimer) -> None:
    time.now += 20.0
    timer.pause()
    time.now += 1000.0
    timer.resume()
    assert timer.remaining() == 10.0


def test_connecting_is_no_silence_and_has_one_budget_for_all_redirects(time: Time, timer: StallTimer) -> None:
    for left in (10.0, 6.0, 2.0):
        with timer.connecting() as seconds:
            assert seconds == left
            time.now += 4.0
    with pytest.raises(TimeoutError), timer.connecting():
        pytest.fail("nothing is left to connect in")
    assert timer.remaining() == 30.0


def test_bytes_that_are_not_needed_are_waited_for_briefly(time: Time, timer: StallTimer) -> None:
    with timer.capped(0.5):
        assert timer.remaining() == 0.5
        time.now += 0.5
        with pytest.raises(TimeoutError):
            timer.remaining()
    assert timer.remaining() == 29.5


def test_nothing_is_waited_for_when_all_is_there(timer: StallTimer) -> None:
    timer.expire()
    assert timer.remaining() == 0.0


def test_a_late_first_byte_is_no_trickle(time: Time, timer: StallTimer) -> None:
    """An IPFS gateway searches for a file for twenty seconds, and then is as fast as other servers."""
    time.now += 29.0
    for _ in range(10):
        timer.count_bytes(2000)
        timer.check_speed()
        time.now += 1.0


def test_a_source_may_be_given_less_time_to_begin_than_to_go_on(time: Time) -> None:
    timer = StallTimer(LIMITS, time, first_byte=5.0)
    with timer.connecting() as seconds:
        assert seconds == 5.0
    assert timer.remaining() == 5.0
    timer.count_bytes(1)
    assert timer.remaining() == 30.0


def test_a_trickle_is_ended(time: Time, timer: StallTimer) -> None:
    timer.count_bytes(1)
    for _ in range(29):
        time.now += 1.0
        timer.count_bytes(999)
        timer.check_speed()
    time.now += 1.0
    timer.count_bytes(999)
    with pytest.raises(SourceError) as caught:
        timer.check_speed()
    assert caught.value.fault is Fault.STALL


# Interim responses


def test_a_few_interim_answers_are_passed_over() -> None:
    heads = HeadScanner()
    for byte in b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * MAX_INTERIM + b"HTTP/1.1 200 OK\r\n\r\n":
        heads.feed(bytes([byte]))
    heads.feed(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)  # the body may contain anything


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n"])
def test_more_are_not(end: bytes) -> None:
    with pytest.raises(httpcore.RemoteProtocolError):
        HeadScanner().feed((b"HTTP/1.1 100 Continue" + end) * (MAX_INTERIM + 1))


# Over connections: servers that send for ever, but no bytes of the file

Serve = Callable[[Channel], None]


@pytest.fixture
def patient(time: Time, direct_from: float) -> Iterator[Client]:
    """A client whose clock the server advances."""
    client = Client(replace(LIMITS, direct_from=direct_from), Cancellation(), time)
    yield client
    client.close()


def endless(begin: bytes, drip: bytes, time: Time, *, late: float = 0.0, every: float = 1.0) -> Serve:
    """Answer each request with ``begin``, and send on until the client closes the connection.

    Args:
        begin: What comes at once.
        drip: Comes byte by byte, again and again; empty to fall silent.
        time: Passes with each byte.
        late: Seconds before the answer.
        every: Seconds between two bytes.
    """

    def serve(channel: Channel) -> None:
        while channel.read_head() is not None:
            time.now += late
            channel.sock.sendall(begin)
            for byte in itertools.cycle(drip) if drip else ():
                time.now += every
                channel.sock.sendall(bytes([byte]))
                channel.wait(0.001)

    return serve


def asked(client: Client, serve: Serve) -> tuple[Got, int]:
    """The result of one request, and the number of connections it took."""
    with closing(Listener(serve)) as listener:
        got = get(client, f"http://127.0.0.1:{listener.port}/x")
        return got, listener.accepted


@pytest.mark.quick(every=5)
@BOTH_WAYS
@pytest.mark.parametrize(
    ("begin", "drip", "fault"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", b"x", Fault.TIMEOUT, id="head"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", Fault.TIMEOUT, id="interim answers"),
        pytest.param(CHUNKED, b"0", Fault.STALL, id="size of a chunk"),
        pytest.param(CHUNKED + b"1;x=", b"x", Fault.STALL, id="extension of a chunk"),
        pytest.param(HEAD + b"\r\n", FILE[:1000], Fault.STALL, id="body"),
        pytest.param(CHUNKED, b"1\r\nx\r\n", Fault.STALL, id="chunks of a byte"),
    ],
)
def test_what_drips_is_left(patient: Client, time: Time, begin: bytes, drip: bytes, fault: Fault) -> None:
    got, connections = asked(patient, endless(begin, drip, time))
    assert got.failure.fault is fault
    assert got.failure.retry
    assert connections == 1


@BOTH_WAYS
def test_a_trickle_is_found_and_its_bytes_are_kept(patient: Client, time: Time) -> None:
    """Each hundred bytes take ten seconds, and are sent when the last ones were taken."""
    taken, sent = threading.Semaphore(1), bytearray()

    def serve(channel: Channel) -> None:
        channel.read_head()
        channel.sock.sendall(HEAD + b"\r\n")
        for at in range(0, SIZE, 100):
            while not taken.acquire(timeout=0.001):
                channel.wait(0.001)
            time.now += 10.0
            sent.extend(FILE[at : at + 100])
            channel.sock.sendall(FILE[at : at + 100])

    got = bytearray()

    def take(pieces: Iterable[bytes | memoryview]) -> None:
        for piece in pieces:
            got.extend(piece)
            if piece:
                taken.release()

    with closing(Listener(serve)) as listener:
        url = f"http://127.0.0.1:{listener.port}/x"
        body = patient.request(url, RangeRequest(0, SIZE), credential=None, memory=Memory())
        with closing(body), pytest.raises(SourceError, match="too slow") as caught:
            take(body)
    assert caught.value.fault is Fault.STALL
    assert caught.value.retry
    assert sent.startswith(got)
    assert len(sent) - len(got) <= 100, "no more is lost than what was sent after the last look"


def test_interim_answers_for_ever_are_left_at_once(patient: Client, time: Time) -> None:
    """Sent as fast as possible, so that no time limit is reached."""
    got, _ = asked(patient, endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, b"", time))
    assert got.failure.fault is Fault.PROTOCOL


@pytest.mark.parametrize("drip", [b"", b"0"], ids=["silent", "dripping"])
@pytest.mark.parametrize("framing", [b"Content-Length: 5000", b"Transfer-Encoding: chunked"])
@pytest.mark.quick(1)
def test_the_body_of_an_error_is_not_waited_for(
    patient: Client, time: Time, framing: bytes, drip: bytes
) -> None:
    began = time.now
    got, _ = asked(patient, endless(b"HTTP/1.1 404 No\r\n" + framing + b"\r\n\r\n", drip, time, every=0.1))
    assert got.failure.fault is Fault.NOT_FOUND
    assert time.now - began < LIMITS.stall_timeout


def test_redirects_have_one_budget_together(patient: Client, time: Time) -> None:
    """Each one is late and has an endless body; without a common limit they take eleven times as long."""
    begin = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nTransfer-Encoding: chunked\r\n\r\n"
    got, connections = asked(patient, endless(begin, b"0", time, late=7.0, every=0.1))
    assert got.failure.fault is Fault.TIMEOUT
    # The fifth answer is beyond the limit of 30 s; its location may be asked before that is noticed.
    assert connections <= 6


@BOTH_WAYS
@pytest.mark.parametrize(
    "tail", [b"", b"0\r\nX-Trailer: ", b"00000"], ids=["nothing", "trailers", "last chunk"]
)
def test_nothing_is_waited_for_once_the_file_is_there(patient: Client, time: Time, tail: bytes) -> None:
    began, body = time.now, b"%x\r\n%b\r\n" % (SIZE, FILE)
    got, _ = asked(patient, endless(CHUNKED + body + tail, b"", time, late=1.0))
    assert got.error is None
    assert got.data == FILE
    assert time.now == began + 1.0


def test_requests_over_idle_connections_have_the_same_limits(patient: Client, time: Time) -> None:
    """As in batches of small files: the first response is good, the second is never sent."""

    def serve(channel: Channel) -> None:
        channel.read_head()
        channel.sock.sendall(HEAD + b"\r\n" + FILE)
        endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", time)(channel)

    with closing(Listener(serve)) as listener:
        url = f"http://127.0.0.1:{listener.port}/x/y.bin"
        assert get(patient, url).data == FILE
        late = get(patient, url)
    assert late.error is not None
    assert late.error.fault is Fault.TIMEOUT
