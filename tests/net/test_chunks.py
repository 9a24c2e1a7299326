"""Decoding chunked bodies: any split gives the same bytes, and invalid ones end in an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.errors import Fault
from modelfetch.net.chunks import LINE_BYTES, ChunkDecoder
from modelfetch.net.client import Client
from tests.net.asking import get
from tests.origin import Content, Origin, faults

END = b"0\r\n\r\n"


def chunked(data: bytes, size: int, extension: bytes = b"", eol: bytes = b"\r\n") -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x%b%b%b%b" % (len(part), extension, eol, part, eol) for part in parts)


@given(
    data=st.binary(max_size=300),
    size=st.integers(1, 100),
    extension=st.sampled_from([b"", b";x=y", b" ; a", b" "]),
    eol=st.sampled_from([b"\r\n", b"\n"]),
    step=st.integers(1, 50),
)
@pytest.mark.slow
def test_wherever_a_body_is_cut_it_is_the_same(
    data: bytes, size: int, extension: bytes, eol: bytes, step: int
) -> None:
    decoder, encoded = ChunkDecoder(), chunked(data, size, extension, eol) + END + b"X-Trailer: 1\r\n\r\n"
    got = b"".join(decoder.feed(encoded[at : at + step]) for at in range(0, len(encoded), step))
    assert got == data
    assert decoder.is_over


def test_it_is_over_with_the_last_chunk_and_not_before() -> None:
    decoder = ChunkDecoder()
    assert decoder.feed(b"3\r\nabc\r\n") == b"abc"
    assert not decoder.is_over
    assert decoder.feed(b"0") == b""
    assert not decoder.is_over
    decoder.feed(b"\r\n")
    assert decoder.is_over
    assert decoder.feed(b"3\r\nabc\r\n") == b""


@pytest.mark.parametrize(
    "encoded",
    [
        *[
            b"zz\r\n",
            b"\r\n",
            b"-1\r\n",
            b"0x3\r\nabc",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\rX",
            b"1234567890123456\r\n",
        ],
        *[b"1" * (LINE_BYTES + 1), b"1;" + b"x" * LINE_BYTES, b"1;a\rb\n"],
    ],
    ids=repr,
)
def test_what_is_no_chunked_body_is_an_error(encoded: bytes) -> None:
    decoder = ChunkDecoder()
    with pytest.raises(ValueError):
        decoder.feed(encoded)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_whatever_is_sent_no_more_is_held_than_a_line(pieces: list[bytes]) -> None:
    decoder = ChunkDecoder()
    try:
        for piece in pieces:
            assert len(decoder.feed(piece)) <= sum(map(len, pieces))
    except ValueError:
        return


@pytest.mark.slow
def test_a_large_body_is_read_past_the_parser(origin: Origin, client: Client) -> None:
    """Large chunks and chunks of one byte alike are yielded in pieces of whatever has arrived."""
    content = Content.random("chunked", 400_000)
    origin.add("chunked.bin", content)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for size in (1, 10_000):
        origin.fault("*", faults.raw(head + chunked(content.data, size) + END))
        with_body = get(client, origin.url("/files/chunked.bin"), size=content.size)
        assert with_body.error is None
        assert with_body.data == content.data
        origin.heal()


@pytest.mark.parametrize(
    ("rest", "fault"),
    [(b"", Fault.CUT), (END, Fault.CUT), (b"zz\r\n", Fault.PROTOCOL), (b"1\r\nabc\r\n", Fault.PROTOCOL)],
    ids=["cut", "ended", "no size", "longer than stated"],
)
def test_a_large_body_that_ends_badly(origin: Origin, client: Client, rest: bytes, fault: Fault) -> None:
    content = Content.random("chunked", 400_000)
    origin.add("chunked.bin", content)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    origin.fault("*", faults.raw(head + chunked(content.data[:300_000], 10_000) + rest))
    got = get(client, origin.url("/files/chunked.bin"), size=content.size)
    assert got.failure.fault is fault
    assert content.data.startswith(got.data)
    assert rest or len(got.data) == 300_000
