"""Each fault of the test origin, seen on the wire."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

import pytest

from tests.origin import Content, Fault, Origin, faults
from tests.origin.certificates import Authority
from tests.origin.client import Answer, fetch
from tests.patience import HELD, IN_TIME

BODY = Content.random("body", 50_000)
DATA = BODY.data


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        origin.add("big.bin", BODY)
        yield origin


def spoiled(
    origin: Origin,
    fault: Fault,
    range_: str | None = None,
    enough: Callable[[bytes], bool] | None = None,
) -> Answer:
    origin.heal()
    origin.fault("big.bin", fault)
    headers = {"Range": range_} if range_ else {}
    return fetch(origin.url("/files/big.bin"), headers, enough=enough)


# Which requests a fault meets


def statuses(origin: Origin, count: int) -> list[int]:
    return [fetch(origin.url("/files/big.bin")).status for _ in range(count)]


def test_fault_meets_the_first_requests_only(origin: Origin) -> None:
    origin.fault("*.bin", faults.status(503), times=2)
    assert statuses(origin, 4) == [503, 503, 200, 200]
    assert [request.fault for request in origin.requests] == ["503", "503", "", ""]


def test_fault_meets_the_nth_request(origin: Origin) -> None:
    origin.fault("/files/*", faults.status(500), after=1, times=1)
    assert statuses(origin, 3) == [200, 500, 200]


def test_faults_follow_each_other(origin: Origin) -> None:
    origin.fault("big.bin", faults.status(500), times=1)
    origin.fault("big.bin", faults.status(404), times=1)
    assert statuses(origin, 3) == [500, 404, 200]


def test_fault_meets_requests_by_condition_and_pattern(origin: Origin) -> None:
    origin.fault("*.bin", faults.status(500), when=lambda request: request.range is not None)
    origin.fault("*.json", faults.status(501))
    assert statuses(origin, 1) == [200]
    assert fetch(origin.url("/files/big.bin"), {"Range": "bytes=0-1"}).status == 500


def test_healed_origin_is_good(origin: Origin) -> None:
    origin.fault("*", faults.status(500))
    origin.heal()
    assert statuses(origin, 1) == [200]


# Delivery


@pytest.mark.parametrize("at", [1, 1000, 49_999])
@pytest.mark.parametrize("reset", [False, True])
def test_cut_at_a_byte_of_the_body(origin: Origin, at: int, reset: bool) -> None:
    answer = spoiled(origin, faults.cut(at, reset=reset))
    assert (answer.body, answer.ended) == (DATA[:at], "reset" if reset else "closed")
    assert answer.header("Content-Length") == "50000"
    assert origin.bytes_sent == at


def test_cut_at_a_fraction_of_the_range(origin: Origin) -> None:
    assert spoiled(origin, faults.cut(0.5), "bytes=100-299").body == DATA[100:200]


@pytest.mark.parametrize("at", [0, 1, 12, 40])
@pytest.mark.parametrize("reset", [False, True])
def test_cut_at_a_byte_of_the_head(origin: Origin, at: int, reset: bool) -> None:
    answer = spoiled(origin, faults.cut_head(at, reset=reset))
    assert (len(answer.raw), answer.ended) == (at, "reset" if reset else "closed")


def test_reset_delivers_a_large_prefix_first(origin: Origin) -> None:
    big = origin.add("huge.bin", Content.random("huge", 8_000_000))
    origin.fault("huge.bin", faults.cut(7_654_321, reset=True))
    answer = fetch(origin.url("/files/huge.bin"))
    assert (answer.body == big.window(0, 7_654_321).data, answer.ended) == (True, "reset")


def test_no_answer_on_a_reused_connection(origin: Origin) -> None:
    origin.fault("*", faults.no_answer(), when=lambda request: request.reused)
    client = http.client.HTTPConnection("127.0.0.1", origin.port)
    client.request("GET", "/files/big.bin")
    assert client.getresponse().read() == DATA
    client.request("GET", "/files/big.bin")
    with pytest.raises(http.client.RemoteDisconnected):
        client.getresponse()
    client.close()


def test_stale_keepalive_closes_without_a_word(origin: Origin) -> None:
    origin.fault("*", faults.stale_keepalive())
    client = http.client.HTTPConnection("127.0.0.1", origin.port)
    client.request("GET", "/files/big.bin")
    response = client.getresponse()
    assert (response.getheader("Connection"), response.read()) == (None, DATA)
    assert client.sock.recv(1) == b""
    client.close()


@pytest.mark.quick(1)
@pytest.mark.parametrize(("fault", "received"), [(faults.stall(), 0), (faults.stall_head(9), 9)])
def test_stall_before_the_body(origin: Origin, fault: Fault, received: int) -> None:
    answer = spoiled(origin, fault, enough=lambda raw: len(raw) >= received)
    assert (len(answer.raw), answer.ended) == (received, "open")


@pytest.mark.quick(1)
@pytest.mark.parametrize("at", [0, 1234])
def test_stall_in_the_body(origin: Origin, at: int) -> None:
    answer = spoiled(origin, faults.stall(at), enough=lambda raw: raw.endswith(b"\r\n\r\n" + DATA[:at]))
    assert (answer.status, answer.body, answer.ended) == (200, DATA[:at], "open")


def test_stall_can_be_released(origin: Origin) -> None:
    release = threading.Event()
    threading.Timer(0.05, release.set).start()
    answer = spoiled(origin, faults.stall(1000, until=release))
    assert answer.body == DATA
    assert release.is_set(), "the rest came only then"


def test_late_answer(origin: Origin) -> None:
    answer = spoiled(origin, faults.late(0.05))
    assert answer.seconds > 0.05
    assert answer.body == DATA


def test_trickle(origin: Origin) -> None:
    answer = spoiled(origin, faults.trickle(2, every=0.02), "bytes=0-5")
    assert answer.body == DATA[:6]
    assert answer.seconds > 0.05


@pytest.mark.parametrize("count", [0, 1, 999])
def test_exact_count_of_bytes_glued_to_the_head(origin: Origin, count: int) -> None:
    origin.fault("*", faults.glued(count, pause=HELD))
    with socket.create_connection(("127.0.0.1", origin.port)) as sock:
        sock.sendall(b"GET /files/big.bin HTTP/1.1\r\n\r\n")
        first = sock.recv(65536)
    assert first.partition(b"\r\n\r\n")[2] == DATA[:count]


def test_interim_answers(origin: Origin) -> None:
    answer = spoiled(origin, faults.continues(3))
    assert answer.raw.count(b"HTTP/1.1 100 Continue\r\n\r\n") == 3
    assert answer.raw.endswith(DATA)


def test_raw_bytes_instead_of_http(origin: Origin) -> None:
    assert spoiled(origin, faults.raw(b"SSH-2.0-x\r\n")).raw == b"SSH-2.0-x\r\n"


# Framing


@pytest.mark.parametrize("by", [-10, 10])
def test_wrong_content_length(origin: Origin, by: int) -> None:
    answer = spoiled(origin, faults.wrong_length(by))
    assert (answer.header("Content-Length"), answer.body, answer.ended) == (str(50_000 + by), DATA, "closed")


@pytest.mark.parametrize("by", [0, 5])
def test_two_content_lengths(origin: Origin, by: int) -> None:
    answer = spoiled(origin, faults.two_lengths(by))
    lengths = [value for name, value in answer.headers if name == "Content-Length"]
    assert lengths == ["50000", str(50_000 + by)]


def test_no_length_good_and_cut(origin: Origin) -> None:
    good, cut = spoiled(origin, faults.no_length()), spoiled(origin, faults.no_length_cut(77))
    assert (good.header("Content-Length"), good.body) == (None, DATA)
    assert (cut.header("Content-Length"), cut.body, cut.ended) == (None, DATA[:77], "closed")


def test_http_1_0(origin: Origin) -> None:
    answer = spoiled(origin, faults.http_1_0())
    assert answer.head[0] == "HTTP/1.0 200 OK"
    assert answer.body == DATA


def test_chunked(origin: Origin) -> None:
    answer = spoiled(origin, faults.chunked())
    assert answer.header("Transfer-Encoding") == "chunked"
    assert answer.body == b"c350\r\n" + DATA + b"\r\n0\r\n\r\n"
    assert origin.bytes_sent == 50_000


def test_chunked_without_end(origin: Origin) -> None:
    answer = spoiled(origin, faults.chunked_without_end())
    assert (answer.body, answer.ended) == (b"c350\r\n" + DATA + b"\r\n", "closed")


def test_chunked_and_cut(origin: Origin) -> None:
    answer = spoiled(origin, faults.all_of(faults.chunked(), faults.cut(10)))
    assert answer.body == b"c350\r\n" + DATA[:10]


def test_chunked_with_length(origin: Origin) -> None:
    answer = spoiled(origin, faults.chunked_with_length())
    assert (answer.header("Content-Length"), answer.header("Transfer-Encoding")) == ("50000", "chunked")


# Ranges and validators


def test_ignored_range(origin: Origin) -> None:
    answer = spoiled(origin, faults.ignored_range(), "bytes=5-9")
    assert (answer.status, answer.header("Content-Range"), answer.body) == (200, None, DATA)


def test_ok_with_content_range(origin: Origin) -> None:
    answer = spoiled(origin, faults.ok_with_content_range(), "bytes=5-9")
    assert (answer.status, answer.header("Content-Range"), answer.body) == (
        200,
        "bytes 5-9/50000",
        DATA[5:10],
    )


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("fault", "label", "body"),
    [
        (faults.other_range(start=3), "bytes 103-199/50000", DATA[103:200]),
        (faults.other_range(start=-3, stop=5), "bytes 97-204/50000", DATA[97:205]),
        (faults.shorter_range(10), "bytes 100-109/50000", DATA[100:110]),
        (faults.wrong_start(), "bytes 101-199/50000", DATA[100:200]),
        (faults.wrong_end(), "bytes 100-200/50000", DATA[100:200]),
        (faults.wrong_total(), "bytes 100-199/50001", DATA[100:200]),
        (faults.unknown_total(), "bytes 100-199/*", DATA[100:200]),
        (faults.wrong_unit(), "items 100-199/50000", DATA[100:200]),
        (faults.content_range("bytes ü"), "bytes ü", DATA[100:200]),
        (faults.no_content_range(), None, DATA[100:200]),
    ],
)
def test_wrong_content_range(origin: Origin, fault: Fault, label: str | None, body: bytes) -> None:
    answer = spoiled(origin, fault, "bytes=100-199")
    assert (answer.status, answer.header("Content-Range"), answer.body) == (206, label, body)


def test_multipart(origin: Origin) -> None:
    answer = spoiled(origin, faults.multipart(), "bytes=5-9")
    assert (answer.status, answer.header("Content-Range")) == (206, None)
    assert answer.header("Content-Type") == "multipart/byteranges; boundary=BOUNDARY"
    assert b"Content-Range: bytes 5-9/50000\r\n\r\n" + DATA[5:10] + b"\r\n--BOUNDARY--" in answer.body


def test_unasked_range(origin: Origin) -> None:
    answer = spoiled(origin, faults.unasked_range(10))
    assert (answer.status, answer.header("Content-Range"), answer.body) == (206, "bytes 0-9/50000", DATA[:10])


@pytest.mark.parametrize(
    ("fault", "label"),
    [
        (faults.unsatisfiable(), "bytes */50000"),
        (faults.unsatisfiable(7), "bytes */7"),
        (faults.unsatisfiable_unknown(), None),
    ],
)
def test_unsatisfiable(origin: Origin, fault: Fault, label: str | None) -> None:
    answer = spoiled(origin, fault, "bytes=5-9")
    assert (answer.status, answer.header("Content-Range"), answer.body) == (416, label, b"")


def test_weak_changed_and_missing_etags(origin: Origin) -> None:
    assert (spoiled(origin, faults.weak_etag()).header("ETag") or "").startswith('W/"')
    assert spoiled(origin, faults.etag(None)).header("ETag") is None
    assert spoiled(origin, faults.etag('"x"')).header("ETag") == '"x"'
    origin.heal()
    origin.fault("*", faults.changing_etag())
    tags = [fetch(origin.url("/files/big.bin")).header("ETag") for _ in range(2)]
    assert tags == ['"version-1"', '"version-2"']


def test_other_revision_answers_ranges_under_its_own_etag(origin: Origin) -> None:
    other = Content.random("other", 60_000)
    origin.fault("*", faults.other_revision(other, '"new"'))
    url, part = origin.url("/files/big.bin"), {"Range": "bytes=5-9"}
    assert fetch(url, part).header("Content-Range") == "bytes 5-9/60000"
    assert fetch(url, part | {"If-Range": '"new"'}).body == other.data[5:10]
    changed = fetch(url, part | {"If-Range": '"old"'})
    assert (changed.status, changed.header("ETag"), changed.body) == (200, '"new"', other.data)


def test_range_faults_leave_redirects_alone(origin: Origin) -> None:
    origin.redirect_large(at=1)
    origin.fault("big.bin", faults.wrong_start())
    assert fetch(origin.url("/org/repo/resolve/main/big.bin")).status == 302


# Statuses and heads

CODES = [401, 403, 404, 407, 410, 429, 451, 500, 502, 503, 511, 204, 300, 304, 520]


@pytest.mark.parametrize("code", CODES)
def test_status(origin: Origin, code: int) -> None:
    answer = spoiled(origin, faults.status(code))
    assert (answer.status, answer.header("Retry-After")) == (code, None)
    assert answer.body == (b"" if code in (204, 304) else b"no")


@pytest.mark.parametrize("value", ["2", "-5", "99999999999", "soon", ""])
def test_retry_after_is_sent_as_it_is(origin: Origin, value: str) -> None:
    assert spoiled(origin, faults.status(503, retry_after=value)).header("Retry-After") == value


@pytest.mark.parametrize("seconds", [60, -60])
def test_retry_date_is_relative_to_the_servers_clock(origin: Origin, seconds: int) -> None:
    answer = spoiled(origin, faults.retry_at(429, seconds, clock=-7200))
    date, later = (parsedate_to_datetime(answer.header(name) or "") for name in ("Date", "Retry-After"))
    assert abs((later - date).total_seconds() - seconds) <= 1
    assert abs(date.timestamp() - (time.time() - 7200)) < IN_TIME
    assert [name for name, _ in answer.headers].count("Date") == 1


def test_rate_limit_header(origin: Origin) -> None:
    answer = spoiled(origin, faults.rate_limited(reset=3))
    assert (answer.status, answer.header("RateLimit")) == (429, '"api";r=0;t=3')


def test_escape_bytes_in_the_reason_phrase(origin: Origin) -> None:
    fault = faults.all_of(faults.status(500), faults.reason("\x1b[31mRed"))
    assert spoiled(origin, fault).raw.startswith(b"HTTP/1.1 500 \x1b[31mRed\r\n")


def test_big_header(origin: Origin) -> None:
    assert len(spoiled(origin, faults.big_header()).header("X-Padding") or "") == 2_000_000


def test_many_headers(origin: Origin) -> None:
    assert len(spoiled(origin, faults.many_headers()).headers) > 5000


# Redirects


def location(origin: Origin, fault: Fault) -> str | None:
    answer = spoiled(origin, fault)
    assert answer.status in (301, 302, 307)
    return answer.header("Location")


def test_locations(origin: Origin) -> None:
    with Origin() as other:
        assert location(origin, faults.redirect_to(other, 307)) == other.url("/files/big.bin")
        assert (
            location(origin, faults.userinfo_location(other))
            == f"http://user:secret@127.0.0.1:{other.port}/files/big.bin"
        )
    assert location(origin, faults.redirect("file:///etc/passwd", 301)) == "file:///etc/passwd"
    assert location(origin, faults.redirect_loop()) == "/files/big.bin"
    assert location(origin, faults.no_location()) is None
    assert location(origin, faults.control_bytes_location()) == "/files/a\x1b[2J\x01\x7fb"


def test_eleven_hops_lead_to_the_file(origin: Origin) -> None:
    origin.fault("*", faults.hops(11))
    answer, followed = fetch(origin.url("/files/big.bin")), 0
    while target := answer.header("Location"):
        answer, followed = fetch(origin.url(target)), followed + 1
    assert (followed, answer.status, answer.body) == (11, 200, DATA)


def test_expired_link_works_when_resolved_again(origin: Origin) -> None:
    origin.redirect_large(at=1)
    origin.fault("*/resolve/*", faults.expired_link(), times=1)
    url = origin.url("/org/repo/resolve/main/big.bin")
    links = [fetch(url).header("Location") or "" for _ in range(2)]
    assert [fetch(link).status for link in links] == [403, 200]


# Bodies


def test_flipped_bit_is_at_its_place_in_any_range(origin: Origin) -> None:
    assert spoiled(origin, faults.flipped(5, bit=1)).body == BODY.flipped(5, 1).data
    assert spoiled(origin, faults.flipped(5, bit=1), "bytes=4-6").body == BODY.flipped(5, 1).data[4:7]
    assert spoiled(origin, faults.flipped(5), "bytes=6-9").body == DATA[6:10]


def test_wrong_bytes_have_the_right_length(origin: Origin) -> None:
    whole, part = (
        spoiled(origin, faults.wrong_bytes()),
        spoiled(origin, faults.wrong_bytes(), "bytes=100-199"),
    )
    assert (len(whole.body), whole.body != DATA) == (50_000, True)
    assert (part.status, part.body) == (206, whole.body[100:200])


def test_too_many_bytes(origin: Origin) -> None:
    answer = spoiled(origin, faults.too_many(10))
    assert (answer.header("Content-Length"), answer.body) == ("50010", DATA + bytes(10))
    part = spoiled(origin, faults.too_many(10), "bytes=0-4")
    assert (part.header("Content-Range"), part.body) == ("bytes 0-4/50000", DATA[:5] + bytes(10))


def test_login_page(origin: Origin) -> None:
    answer = spoiled(origin, faults.html_login())
    assert (answer.status, answer.header("Content-Type")) == (200, "text/html; charset=utf-8")
    assert b"<form" in answer.body


def test_lfs_pointer(origin: Origin) -> None:
    answer = spoiled(origin, faults.lfs_pointer())
    assert answer.body.endswith(f"oid sha256:{BODY.sha256}\nsize 50000\n".encode())


def test_gzip_of_file_and_range(origin: Origin) -> None:
    whole, part = spoiled(origin, faults.gzipped()), spoiled(origin, faults.gzipped(), "bytes=5-9")
    assert (whole.header("Content-Encoding"), gzip.decompress(whole.body)) == ("gzip", DATA)
    assert (part.status, gzip.decompress(part.body)) == (206, DATA[5:10])


def test_gzip_bomb_is_small_and_unpacks_to_much(origin: Origin) -> None:
    answer = spoiled(origin, faults.gzip_bomb(20_000_000))
    assert len(answer.body) < 50_000
    assert len(gzip.decompress(answer.body)) == 20 << 20


# TLS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_tls_good_cut_and_reset(authority: Authority) -> None:
    with Origin(tls=authority.server()) as origin:
        origin.add("big.bin", BODY)
        url, client = origin.url("/files/big.bin"), authority.client()
        good = fetch(url, tls=client)
        assert (url[:8], good.body, good.ended) == ("https://", DATA, "closed")
        origin.fault("*", faults.no_length_cut(10), times=1)
        origin.fault("*", faults.cut(10, reset=True), times=1)
        cut, reset = fetch(url, tls=client), fetch(url, tls=client)
        assert (cut.body, cut.ended) == (DATA[:10], "truncated")
        assert reset.body == DATA[:10]
        assert reset.ended in ("reset", "truncated")  # CPython before 3.12 takes RST under TLS for an end


@pytest.mark.parametrize(("host", "expired"), [("other.example", False), ("127.0.0.1", True)])
def test_tls_certificate_for_another_host_or_expired(authority: Authority, host: str, expired: bool) -> None:
    server = authority.server(host, expired=expired)
    with Origin(tls=server) as origin, pytest.raises(OSError, match="certificate"):
        fetch(origin.url("/files/x"), tls=authority.client())


def test_tls_certificate_of_another_authority(authority: Authority) -> None:
    with Origin(tls=authority.server()) as origin, pytest.raises(OSError, match="certificate"):
        fetch(origin.url("/files/x"), tls=Authority().client())


@pytest.mark.quick(6)
@pytest.mark.parametrize("name", faults.NAMED)
def test_every_named_fault_answers(origin: Origin, name: str) -> None:
    answer = spoiled(origin, faults.NAMED[name], "bytes=0-3", bool if name == "stall" else None)
    assert answer.raw or name == "no-answer"
