"""Single requests to a misbehaving server: the fault that is raised, and the bytes that are accepted."""

from __future__ import annotations

import pytest

from modelfetch import __version__
from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Limits, Memory
from tests.net.asking import FILE, PATIENT, SIZE, get
from tests.origin import Content, Origin, Reply, faults, refusing_port
from tests.origin import Fault as OriginFault

HALF = SIZE // 2

# What is requested


def test_a_request_says_no_more_than_it_must(origin: Origin, client: Client, url: str) -> None:
    assert get(client, url).data == FILE
    [request] = origin.requests
    assert request.method == "GET"
    assert request.range == f"bytes=0-{SIZE - 1}"
    assert request.header("Accept-Encoding") == "identity"
    assert request.header("User-Agent") == f"modelfetch/{__version__}"
    assert request.header("If-Range") is None
    assert origin.foreign_headers == set()


def test_the_rest_is_requested_as_a_closed_range(origin: Origin, client: Client, url: str) -> None:
    assert get(client, url, HALF).data == FILE[HALF:]
    assert origin.requests[0].range == f"bytes={HALF}-{SIZE - 1}"


def test_connections_are_used_again(origin: Origin, client: Client, url: str) -> None:
    for _ in range(3):
        assert get(client, url).error is None
    assert origin.connections == 1


@pytest.mark.parametrize("status", [403, 404, 416, 429, 500, 503])
def test_a_small_error_body_frees_its_connection(
    origin: Origin, client: Client, url: str, status: int
) -> None:
    origin.fault("*", faults.status(status), times=2)
    for _ in range(2):
        get(client, url)
    assert get(client, url).error is None
    assert origin.connections == 1


@pytest.mark.parametrize("start", [0, 5])
def test_a_git_lfs_pointer_is_recognized_in_a_part_as_well(
    origin: Origin, client: Client, start: int
) -> None:
    """A web server sends the first part of the file it has, whatever the length of that file."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {SIZE}\n"
    origin.add("pointer", pointer.encode())
    failure = get(client, origin.url("/files/pointer"), start).failure
    assert failure.fault is Fault.SIZE
    assert "Git LFS pointer" in failure.message


# The decision table, over connections


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        *[(faults.status(status), Fault.NOT_FOUND) for status in (404, 410, 451)],
        *[(faults.status(status), Fault.AUTHORIZATION) for status in (401, 403)],
        *[(faults.status(status), Fault.BUSY) for status in (408, 425, 429, 503, 529)],
        *[(faults.status(status), Fault.SERVER) for status in (500, 502, 504, 520, 522, 524)],
        *[(faults.status(status), Fault.PROTOCOL) for status in (204, 205, 304, 400, 412, 418, 511)],
        (faults.status(407), Fault.PROXY),
        (faults.status(300), Fault.PROTOCOL),
        (faults.html_login(), Fault.SIZE),
        (faults.lfs_pointer(), Fault.SIZE),
        (faults.other_revision(Content.random("new", SIZE + 1)), Fault.SIZE),
        (faults.wrong_total(), Fault.PROTOCOL),
        (faults.unsatisfiable(SIZE - 1), Fault.PROTOCOL),
        (faults.all_of(faults.ignored_range(), faults.wrong_length(+5)), Fault.SIZE),
        (faults.all_of(faults.ignored_range(), faults.wrong_length(-5)), Fault.SIZE),
        (faults.wrong_start(), Fault.PROTOCOL),
        (faults.wrong_start(-1), Fault.PROTOCOL),
        (faults.wrong_end(-1), Fault.PROTOCOL),
        (faults.wrong_end(+1), Fault.PROTOCOL),
        (faults.other_range(start=7), Fault.PROTOCOL),
        (faults.unasked_range(), Fault.PROTOCOL),
        (faults.wrong_unit(), Fault.PROTOCOL),
        (faults.no_content_range(), Fault.PROTOCOL),
        (faults.multipart(), Fault.PROTOCOL),
        (faults.wrong_length(+5), Fault.SIZE),
        (faults.wrong_length(-5), Fault.SIZE),
        (faults.two_lengths(1), Fault.PROTOCOL),
        (faults.gzipped(), Fault.PROTOCOL),
        (faults.big_header(), Fault.PROTOCOL),
        (faults.many_headers(5000), Fault.PROTOCOL),
        (faults.many_headers(300), Fault.PROTOCOL),
        (faults.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Fault.PROTOCOL),
        (faults.raw(b"HTTP/1.1 abc nonsense\r\n\r\n"), Fault.PROTOCOL),
        (faults.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), Fault.PROTOCOL),
        (faults.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Fault.PROTOCOL),
        (faults.no_answer(), Fault.CUT),
        (faults.no_answer(reset=True), Fault.CUT),
    ],
    ids=lambda value: value.name if isinstance(value, OriginFault) else value,
)
def test_an_answer_of_no_use_yields_nothing(
    origin: Origin, client: Client, url: str, fault: OriginFault, expected: Fault
) -> None:
    origin.fault("*", fault)
    got = get(client, url, HALF)
    assert got.failure.fault is expected
    assert got.data == b""


@pytest.mark.parametrize(
    "fault",
    [faults.many_headers(200), faults.weak_etag(), faults.changing_etag(), faults.etag(None)],
    ids=lambda fault: fault.name,
)
def test_an_odd_answer_may_still_be_good(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault)
    assert get(client, url, HALF).data == FILE[HALF:]


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (faults.status(429, retry_after=17), 17.0),
        (faults.status(503, retry_after=-3), None),
        (faults.status(503, retry_after="soon"), None),
        (faults.status(503, retry_after=999_999_999_999), 999_999_999_999.0),
        (faults.retry_at(503, 60), 60.0),
        (faults.retry_at(503, 60, clock=-86_400), 60.0),
        (faults.retry_at(429, -60), 0.0),
        (faults.rate_limited(reset=55), 56.0),
    ],
    ids=lambda value: value.name if isinstance(value, OriginFault) else str(value),
)
def test_the_delay_that_the_server_requests(
    origin: Origin, client: Client, url: str, fault: OriginFault, seconds: float | None
) -> None:
    origin.fault("*", fault)
    assert get(client, url).failure.retry_after == seconds


# Ranges and validators


def test_an_ignored_range_is_requested_again_and_then_the_whole_file(
    origin: Origin, client: Client, url: str
) -> None:
    origin.fault("*", faults.ignored_range())
    got = get(client, url, HALF)
    assert (got.start, got.data) == (0, FILE)
    assert [request.range for request in origin.requests] == [f"bytes={HALF}-{SIZE - 1}", None]


@pytest.mark.parametrize(
    "fault", [faults.status(405), faults.status(501), faults.unsatisfiable(), faults.unsatisfiable_unknown()]
)
def test_a_refused_range_is_replaced_by_a_plain_request(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault, when=lambda request: request.range is not None)
    got = get(client, url, HALF)
    assert (got.start, got.data) == (0, FILE)
    assert len(origin.requests) == 2


def test_a_range_refused_in_every_form_ends(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.unsatisfiable())
    assert get(client, url, HALF).failure.fault is Fault.PROTOCOL
    assert len(origin.requests) == 2


def test_a_validator_goes_with_the_next_range(origin: Origin, client: Client, url: str) -> None:
    memory = Memory()
    get(client, url, memory=memory)
    get(client, url, HALF, memory=memory)
    get(client, url, 0, memory=memory)
    first, second, third = origin.requests
    assert first.header("If-Range") is None
    assert second.header("If-Range") == f'"{origin.add("big.bin", FILE).sha256[:32]}"'
    assert third.header("If-Range") is None, "nothing is held that could be combined"


@pytest.mark.parametrize("fault", [faults.weak_etag(), faults.etag('"\x1b[2J"'), faults.etag(None)])
def test_only_a_strong_validator_is_sent_back(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault)
    memory = Memory()
    get(client, url, memory=memory)
    get(client, url, HALF, memory=memory)
    assert [request.header("If-Range") for request in origin.requests] == [None, None]


def test_a_range_lost_to_the_validator_comes_without_it(origin: Origin, client: Client, url: str) -> None:
    """Some caches drop the range when If-Range comes with it."""
    origin.fault("*", faults.ignored_range(), when=lambda request: request.header("If-Range") is not None)
    memory = Memory()
    get(client, url, memory=memory)
    got = get(client, url, HALF, memory=memory)
    assert (got.start, got.data) == (HALF, FILE[HALF:])
    assert len(origin.requests) == 3


def test_an_ignored_range_with_validator_ends_with_the_whole_file(
    origin: Origin, client: Client, url: str
) -> None:
    origin.fault("*", faults.ignored_range())
    memory = Memory()
    get(client, url, memory=memory)
    assert get(client, url, HALF, memory=memory).data == FILE
    asked = [
        (request.range is not None, request.header("If-Range") is not None) for request in origin.requests
    ]
    assert asked == [(True, False), (True, True), (True, False), (False, False)]


def test_a_changed_validator_alone_changes_nothing(origin: Origin, client: Client, url: str) -> None:
    """Servers of one CDN send different ones for the same file. If the file differs, its digest shows it."""
    origin.fault("*", faults.changing_etag())
    memory = Memory()
    get(client, url, memory=memory)
    got = get(client, url, HALF, memory=memory)
    assert (got.start, got.data) == (HALF, FILE[HALF:])
    assert [request.range for request in origin.requests][1:] == [f"bytes={HALF}-{SIZE - 1}"] * (
        len(origin.requests) - 1
    )


def test_a_file_of_another_size_is_not_combined(origin: Origin, client: Client, url: str) -> None:
    memory = Memory()
    get(client, url, memory=memory)
    origin.fault("*", faults.other_revision(Content.random("new", SIZE + 1)))
    got = get(client, url, HALF, memory=memory)
    assert got.failure.fault is Fault.SIZE
    assert not got.failure.retry
    assert got.data == b""


# Header fields that contradict what was expected cost at most another request: the digest decides


@pytest.mark.parametrize(
    "fault",
    [
        faults.ok_with_content_range(),
        faults.content_range("BYTES {start}-{last}/{total}"),
        faults.header("Content-Encoding", "gzip"),
        faults.header("Content-Encoding", "aws-chunked"),
        faults.header("Content-Type", "text/html"),
    ],
    ids=lambda fault: fault.name,
)
def test_a_part_that_is_the_requested_one_is_used(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault)
    got = get(client, url, HALF)
    assert (got.start, got.data) == (HALF, FILE[HALF:])
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        *[faults.wrong_start(), faults.wrong_end(+1), faults.wrong_total(), faults.unsatisfiable(SIZE - 1)],
        *[faults.no_content_range(), faults.wrong_unit(), faults.multipart(), faults.other_range(start=-7)],
        *[faults.all_of(faults.ok_with_content_range(), faults.content_range("bytes 0-1/2"))],
    ],
    ids=lambda fault: fault.name,
)
def test_a_part_that_is_not_costs_one_request_more(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault, times=1)
    got = get(client, url, HALF)
    assert (got.start, got.data) == (0, FILE)
    assert [request.range is not None for request in origin.requests] == [True, False]


def test_a_file_labeled_as_encoded_is_taken_as_it_is(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.all_of(faults.ignored_range(), faults.header("Content-Encoding", "x-gzip")))
    assert get(client, url).data == FILE


@pytest.mark.parametrize("by", [0, 9])
def test_chunks_with_a_length_beside_them_are_chunks(
    origin: Origin, client: Client, url: str, by: int
) -> None:
    """A body must not be read for an excerpt if it may be used: those bytes would be lost."""
    origin.fault("*", faults.all_of(faults.ignored_range(), faults.chunked_with_length(by)))
    assert get(client, url).data == FILE


# Connections


def test_an_idle_connection_that_died_is_replaced_without_a_retry(
    origin: Origin, client: Client, url: str
) -> None:
    origin.fault("*", faults.no_answer(), when=lambda request: request.reused)
    assert get(client, url).error is None
    assert get(client, url).data == FILE
    assert origin.connections == 2
    assert [request.reused for request in origin.requests] == [False, True, False]


def test_what_one_answer_left_on_a_connection_is_not_blamed_on_the_next(
    origin: Origin, client: Client, url: str
) -> None:
    """Bytes beyond the stated length would be taken for the head of the next response."""
    too_long = OriginFault(
        "more than stated",
        lambda _request, _reply: Reply(
            404, (("Content-Length", "2"),), body=Content.of(b"no, and never will be")
        ),
    )
    origin.fault("gone", too_long)
    assert get(client, origin.url("/files/gone")).failure.fault is Fault.NOT_FOUND
    assert get(client, url).data == FILE
    assert origin.connections == 2


@pytest.mark.parametrize("again", [False, True])
def test_what_is_not_http_is_a_failure_of_who_sent_it(
    origin: Origin, client: Client, url: str, again: bool
) -> None:
    if again:
        get(client, url)
    origin.fault("*", faults.raw(b"220 mail.example ESMTP\r\n\r\n"))
    assert get(client, url).failure.fault is Fault.PROTOCOL
    assert origin.connections == 1 + again


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_dies_when_new_is_a_failure(
    origin: Origin, client: Client, url: str, reset: bool
) -> None:
    origin.fault("*", faults.no_answer(reset=reset))
    get(client, url)
    assert len(origin.requests) == 1


def test_a_connection_closed_without_a_word_does_no_harm(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.stale_keepalive())
    for _ in range(3):
        assert get(client, url).data == FILE
    assert len(origin.requests) == 3


def test_a_refused_connection(client: Client) -> None:
    with refusing_port() as port:
        error = get(client, f"http://127.0.0.1:{port}/x").failure
    assert error.fault is Fault.CONNECT
    assert error.retry
    assert "refused" in error.message


@pytest.mark.parametrize("host", ["nosuch.invalid", "a" * 64 + ".invalid", "a..b.invalid", "a" * 300])
def test_a_name_that_does_not_exist(client: Client, host: str) -> None:
    error = get(client, f"http://{host}/x").failure
    assert error.fault in (Fault.CONNECT, Fault.PROTOCOL)
    assert not error.retry or "at the moment" in error.message
    assert error.message.isprintable()


# State of the client


def test_a_client_without_requests_can_be_closed() -> None:
    Client(PATIENT, Cancellation()).close()


def test_memory_belongs_to_the_answer_that_was_accepted(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.status(503), times=1)
    memory = Memory()
    get(client, url, memory=memory)
    assert memory == Memory()
    client.request(url, RangeRequest(0, SIZE), credential=None, memory=memory).close()
    assert memory.etag
    assert memory.etag_origin == ("http", "127.0.0.1", origin.port)


@pytest.mark.parametrize("fault", [faults.stall(), faults.stall_head(20)], ids=lambda fault: fault.name)
def test_the_first_byte_may_have_a_limit_of_its_own(origin: Origin, url: str, fault: OriginFault) -> None:
    """Without the shorter limit this would wait for half a minute."""
    origin.fault("*", fault)
    client = Client(Limits(stall_timeout=30.0), Cancellation())
    with pytest.raises(SourceError) as late:
        client.request(url, RangeRequest(0, SIZE, first_byte=0.1), credential=None, memory=Memory())
    assert late.value.fault is Fault.TIMEOUT
    client.close()
