"""The test origin serves correctly, records truly, and ends promptly."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.origin import Content, Origin, faults
from tests.origin.client import fetch
from tests.origin.ranges import Span, parse_range
from tests.patience import IN_TIME

BODY = Content.random("body", 100_000)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        origin.add("big.bin", BODY)
        origin.add("config.json", b"{}")
        yield origin


def test_random_content_depends_on_seed_alone() -> None:
    assert Content.random(1, 5_000_000).data[:100] == Content.random(1, 100).data
    assert Content.random(1, 100).data != Content.random(2, 100).data


def test_random_content_never_repeats_a_block() -> None:
    blocks = [Content.random(1, 8 << 20).window(n << 20, (n + 1) << 20).sha256 for n in range(8)]
    assert len(set(blocks)) == 8


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (262_143, 262_145), (1_048_575, 1_048_577), (5, 2_500_000)]
)
def test_pieces_from_anywhere_agree_with_the_whole(start: int, stop: int) -> None:
    content = Content.random("x", 2_500_000)
    assert b"".join(content.pieces(start, stop)) == content.data[start:stop]
    assert content.window(start, stop).data == content.data[start:stop]


def test_flipped_content_differs_in_one_bit() -> None:
    content = Content.random("x", 600_000)
    flipped = content.flipped(400_000, bit=3)
    different = [n for n, (a, b) in enumerate(zip(content.data, flipped.data, strict=True)) if a != b]
    assert different == [400_000]
    assert content.data[400_000] ^ flipped.data[400_000] == 8
    assert flipped.window(400_000, 400_001).data == flipped.data[400_000:400_001]


def test_content_followed_by_another() -> None:
    joined = Content.of(b"abc").followed_by(Content.zeros(3))
    assert joined.data == b"abc\0\0\0"
    assert joined.window(2, 5).data == b"c\0\0"


def test_cid_of_content_is_that_of_one_raw_block() -> None:
    assert Content.of(b"test").cid == "bafkreie7q3iidccmpvszul7kudcvvuavuo7u6gzlbobczuk5nqk3b4akba"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("bytes=0-9", Span(0, 10)),
        ("bytes=90-", Span(90, 100)),
        ("bytes=90-200", Span(90, 100)),
        ("bytes=-10", Span(90, 100)),
        ("bytes=-200", Span(0, 100)),
        ("bytes=100-", Span(100, 100)),
        ("bytes=-0", Span(100, 100)),
        ("bytes=9-0", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=0-1", None),
    ],
)
def test_ranges_are_read_as_rfc_9110_says(text: str, span: Span | None) -> None:
    assert parse_range(text, 100) == span


def shapes() -> list[str]:
    return [
        "/files/big.bin",
        "/mirror/m/1/big.bin",
        f"/blobs/{BODY.sha256}",
        f"/blobs/sha256/{BODY.sha256}",
        f"/ipfs/{BODY.cid}",
        "/ipfs/bafydirectory/big.bin",
        "/org/repo/resolve/main/big.bin",
        "/repo/resolve/main/big.bin",
        "/datasets/org/repo/resolve/main/big.bin",
    ]


@pytest.mark.parametrize("path", shapes())
def test_every_shape_of_url_serves_whole_files_and_ranges(origin: Origin, path: str) -> None:
    whole = fetch(origin.url(path))
    assert (whole.status, whole.body, whole.ended) == (200, BODY.data, "closed")
    part = fetch(origin.url(path), {"Range": "bytes=99990-99999"})
    assert (part.status, part.body) == (206, BODY.data[-10:])
    assert part.header("Content-Range") == "bytes 99990-99999/100000"
    assert [request.file for request in origin.requests] == ["big.bin", "big.bin"]


def test_unknown_paths_are_not_found(origin: Origin) -> None:
    assert fetch(origin.url("/files/absent")).status == 404
    assert fetch(origin.url("/elsewhere")).status == 404
    assert fetch(origin.url("/files/big.bin"), method="POST").status == 405


def test_head_gives_headers_only(origin: Origin) -> None:
    answer = fetch(origin.url("/files/big.bin"), method="HEAD")
    assert (answer.header("Content-Length"), answer.body) == ("100000", b"")
    assert origin.bytes_sent == 0


def test_scope_separates_models(origin: Origin) -> None:
    origin.add("config.json", b"other", scope="other")
    assert fetch(origin.url("/mirror/other/1/config.json")).body == b"other"
    assert fetch(origin.url("/org/other/resolve/main/config.json")).body == b"other"
    assert fetch(origin.url("/mirror/m/1/config.json")).body == b"{}"


def test_percent_encoded_names_are_found(origin: Origin) -> None:
    origin.add("a b/ü.txt", b"name")
    assert fetch(origin.url("/files/a b/ü.txt")).body == b"name"


def test_if_range_decides_between_range_and_whole(origin: Origin) -> None:
    url = origin.url("/files/big.bin")
    tag = fetch(url).header("ETag") or ""
    assert fetch(url, {"Range": "bytes=1-2", "If-Range": tag}).status == 206
    assert fetch(url, {"Range": "bytes=1-2", "If-Range": '"other"'}).body == BODY.data


def test_range_past_the_end_is_416_with_the_size(origin: Origin) -> None:
    answer = fetch(origin.url("/files/big.bin"), {"Range": "bytes=100000-"})
    assert (answer.status, answer.header("Content-Range")) == (416, "bytes */100000")


def test_hub_headers(origin: Origin) -> None:
    revision = "a" * 40
    answer = fetch(origin.url(f"/org/repo/resolve/{revision}/big.bin"), method="HEAD")
    assert answer.header("X-Repo-Commit") == revision
    assert answer.header("X-Linked-Size") == "100000"
    assert answer.header("X-Linked-ETag") == answer.header("ETag") == f'"{BODY.sha256}"'


def test_large_files_are_redirected_by_signed_link(origin: Origin) -> None:
    with Origin() as cdn:
        origin.redirect_large(cdn, at=1000)
        first = fetch(origin.url("/org/repo/resolve/main/big.bin"))
        location = first.header("Location") or ""
        assert (first.status, first.header("X-Linked-ETag")) == (302, f'"{BODY.sha256}"')
        assert location.startswith(cdn.endpoint)
        assert "X-Amz-Signature=" in location
        linked = fetch(location, {"Range": "bytes=0-4"})
        assert (linked.status, linked.body) == (206, BODY.data[:5])
        assert linked.header("ETag") != first.header("X-Linked-ETag")
        assert fetch(location, method="HEAD").status == 403
        assert fetch(location, {"Authorization": "Bearer x"}).status == 400
        cdn.signatures.clear()
        assert fetch(location).status == 403
        assert fetch(origin.url("/org/repo/resolve/main/config.json")).status == 200


def test_small_files_are_redirected_by_relative_location(origin: Origin) -> None:
    origin.redirect_large(at=1000)
    origin.redirect_small()
    answer = fetch(origin.url("/org/repo/resolve/main/config.json"))
    location = answer.header("Location") or ""
    assert (answer.status, location[0]) == (307, "/")
    assert fetch(origin.url(location)).body == b"{}"


def test_token_is_required_in_the_hub_shape_only(origin: Origin) -> None:
    origin.require_token("secret")
    url = origin.url("/org/repo/resolve/main/config.json")
    assert fetch(url).status == 401
    assert fetch(url, {"Authorization": "Bearer other"}).status == 403
    assert fetch(url, {"Authorization": "Bearer secret"}).status == 200
    assert fetch(origin.url("/files/config.json")).status == 200


def test_connections_are_kept_alive(origin: Origin) -> None:
    client = http.client.HTTPConnection("127.0.0.1", origin.port)
    for _ in range(3):
        client.request("GET", "/files/config.json")
        assert client.getresponse().read() == b"{}"
    client.close()
    assert origin.connections == 1
    assert [request.reused for request in origin.requests] == [False, True, True]


def test_requests_are_recorded(origin: Origin) -> None:
    fetch(origin.url("/mirror/m/1/big.bin?x=1"), {"Range": "bytes=10-19", "User-Agent": "me"})
    fetch(origin.url("/files/config.json"))
    first, second = origin.requests
    assert (first.method, first.path, first.query) == ("GET", "/mirror/m/1/big.bin", {"x": "1"})
    assert (first.range, first.offset, first.status, first.sent) == ("bytes=10-19", 10, 206, 10)
    assert (first.header("user-agent"), first.client[0]) == ("me", "127.0.0.1")
    assert second.started >= first.started
    assert (origin.bytes_sent, origin.sent("*.bin"), len(origin.asked("/files/*"))) == (12, 10, 1)
    assert origin.connections == 2
    origin.forget()
    assert origin.requests == []


def test_foreign_headers_tell_what_leaked(origin: Origin) -> None:
    fetch(origin.url("/files/config.json"), {"Range": "bytes=0-1", "Accept": "*/*"})
    assert origin.foreign_headers == set()
    fetch(origin.url("/files/config.json"), {"Authorization": "Bearer x", "X-Api-Key": "y"})
    assert origin.foreign_headers == {"authorization", "x-api-key"}


def test_count_is_complete_when_the_client_has_the_last_byte(origin: Origin) -> None:
    for round_ in range(1, 30):
        client = http.client.HTTPConnection("127.0.0.1", origin.port)
        client.request("GET", "/files/big.bin")
        client.getresponse().read()
        assert origin.bytes_sent == round_ * BODY.size
        client.close()


def test_count_leaves_out_what_a_client_that_left_never_took() -> None:
    with Origin() as origin:
        origin.add("huge.bin", Content.zeros(100_000_000))
        with socket.create_connection(("127.0.0.1", origin.port)) as sock:
            sock.sendall(b"GET /files/huge.bin HTTP/1.1\r\n\r\n")
            sock.recv(1000)
        origin.until(lambda origin: origin.requests[0].finished is not None)
        assert 0 < origin.bytes_sent < 100_000_000


def test_pace_limits_a_body() -> None:
    with Origin(pace=1_000_000) as origin:
        origin.add("big.bin", BODY)
        assert fetch(origin.url("/files/big.bin")).seconds > 0.08
        origin.pace = 1
        origin.pace = None
        assert fetch(origin.url("/files/big.bin")).seconds < IN_TIME


def test_another_pace_holds_for_an_answer_under_way() -> None:
    with Origin(pace=50) as origin, ThreadPoolExecutor(1) as pool:
        origin.add("big.bin", BODY)
        answer = pool.submit(fetch, origin.url("/files/big.bin"))
        origin.until(lambda origin: origin.bytes_sent > 0)
        origin.pace = None
        assert answer.result(IN_TIME).body == BODY.data


def test_close_is_prompt_and_leaves_no_thread() -> None:
    before = threading.active_count()
    origin = Origin(pace=1)
    origin.add("big.bin", BODY)
    origin.fault("stalled", faults.stall())
    sockets = [socket.create_connection(("127.0.0.1", origin.port)) for _ in range(3)]
    sockets[0].sendall(b"GET /files/stalled HTTP/1.1\r\n\r\n")
    sockets[1].sendall(b"GET /files/big.bin HTTP/1.1\r\n\r\n")
    origin.until(lambda origin: len(origin.requests) == 2 and origin.active == 3)
    started = time.monotonic()
    origin.close()
    assert time.monotonic() - started < IN_TIME
    assert threading.active_count() <= before
    for sock in sockets:
        sock.close()


def test_stalled_connection_ends_when_the_client_leaves(origin: Origin) -> None:
    origin.fault("*", faults.stall())
    with socket.create_connection(("127.0.0.1", origin.port)) as sock:
        sock.sendall(b"GET /files/big.bin HTTP/1.1\r\n\r\n")
        origin.until(lambda origin: origin.requests != [])
        assert origin.active == 1
    origin.until(lambda origin: origin.active == 0)


def speak_nonsense() -> None:
    with Origin() as origin, socket.create_connection(("127.0.0.1", origin.port)) as sock:
        sock.sendall(b"GET /a b c\r\n\r\n")
        assert sock.recv(100) == b""


def test_malformed_request_is_raised_to_the_test() -> None:
    with pytest.raises(ExceptionGroup, match="the origin failed") as caught:
        speak_nonsense()
    assert "malformed request line" in str(caught.value.exceptions[0])


def test_until_gives_up() -> None:
    with Origin() as origin, pytest.raises(TimeoutError):
        origin.until(lambda origin: origin.requests != [], timeout=0.01)


@pytest.mark.slow
def test_whole_file_arrives_unharmed() -> None:
    content = Content.random("large", 20_000_000)
    with Origin() as origin:
        origin.add("large.bin", content)
        answer = fetch(origin.url("/files/large.bin"))
    assert hashlib.sha256(answer.body).hexdigest() == content.sha256
