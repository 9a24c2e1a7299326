"""Heads of responses: the quick parser accepts nothing that h11 refuses, and reads the same."""

from __future__ import annotations

import random

import pytest

from modelfetch.net import response_heads
from modelfetch.net.response_heads import Head, HeadError, parse_head

NGINX = (
    b"HTTP/1.1 206 Partial Content\r\nServer: nginx/1.22.1\r\nDate: Sun, 29 Nov 2026 03:42:35 GMT\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: 4096\r\nConnection: keep-alive\r\n"
    b'ETag: "6a1-1000"\r\nContent-Range: bytes 0-4095/4096\r\n\r\n'
)
MOVED = b"HTTP/1.1 302 \r\nlocation:/x?a=%20\r\nX-Empty:\r\nContent-Length: 0 \t\r\n\r\n"
BARE = b"HTTP/1.1 204\r\n\r\n"

UNUSUAL = {
    "an older version": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
    "lines that end in LF": b"HTTP/1.1 200 OK\nContent-Length: 1\n\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n",
    "bytes outside ASCII": b"HTTP/1.1 200 OK\r\nX-A: \xc3\xa4\r\n\r\n",
    "a field twice": b"HTTP/1.1 200 OK\r\nX-A: b\r\nx-a: c\r\n\r\n",
    "a length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a control character": b"HTTP/1.1 200 OK\r\nX-A: b\x01c\r\n\r\n",
}
REFUSED = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nX-A: b\0\r\n\r\n",
}


def facts(head: Head) -> tuple[object, ...]:
    return head.status, head.version, dict(head.headers), head.location, head.count, list(head.raw())


@pytest.mark.parametrize("data", [NGINX, MOVED, BARE], ids=["nginx", "moved", "bare"])
def test_an_ordinary_head_is_read_without_h11(data: bytes) -> None:
    head = response_heads._parse_ordinary(data)
    assert head is not None
    assert facts(head) == facts(response_heads._parse_any(data))


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL)
def test_h11_reads_an_unusual_head(data: bytes) -> None:
    assert response_heads._parse_ordinary(data) is None
    assert parse_head(data).status == 200


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_h11_refuses_a_head_that_is_not_valid(data: bytes) -> None:
    with pytest.raises(HeadError):
        parse_head(data)


def test_damaged_heads_are_read_as_h11_reads_them_or_not_at_all() -> None:
    chance = random.Random(1)
    pieces = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x0b", b"\x85", b"\xff", b"1"]
    pieces += [
        b"Content-Length: 7\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b",",
        b"-",
        b"",
    ]
    ordinary = 0
    for _ in range(1500):
        data = bytearray(chance.choice([NGINX, MOVED, BARE]))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 2)] = chance.choice(pieces)
        end = response_heads_end(data)
        head = response_heads._parse_ordinary(end)
        if head is not None:
            ordinary += 1
            assert facts(head) == facts(response_heads._parse_any(end)), bytes(end)
    assert ordinary > 100


def response_heads_end(data: bytearray) -> bytes:
    """The head alone: a connection passes on nothing beyond the first empty line."""
    from modelfetch.net.http11 import _HEAD_END

    found = _HEAD_END.search(data)
    return bytes(data[: found.end()] if found else data)
