"""Server-sent events (WHATWG HTML standard), split anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.net.sse import Message, Parser


def parse(*pieces: bytes) -> list[Message]:
    parser = Parser()
    return [message for piece in pieces for message in parser.feed(piece)]


def test_a_message_has_data_kind_and_id() -> None:
    assert parse(b"id: 7\nevent: progress\ndata: x\n\n") == [Message("x", "progress", "7")]


def test_without_a_kind_it_is_a_message_and_the_last_id_stays() -> None:
    assert parse(b"id: 7\ndata: x\n\ndata: y\n\nid\ndata: z\n\n") == [
        Message("x", "message", "7"),
        Message("y", "message", "7"),
        Message("z", "message", ""),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_end_of_a_line_is_one(end: bytes) -> None:
    lines = [b"event: a", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""]
    assert parse(end.join(lines)) == [Message("1\n2", "a"), Message("3")]


def test_ends_of_lines_may_be_mixed() -> None:
    assert parse(b"data: 1\rdata: 2\ndata: 3\r\n\r\n") == [Message("1\n2\n3")]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"data:x", "x"),
        (b"data: x", "x"),
        (b"data:  x ", " x "),
        (b"data: a:b", "a:b"),
        (b"data", ""),
        (b"data:", ""),
        (b"data\ndata", "\n"),
        ("data: ☕".encode(), "☕"),
        (b"data: \xff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_data_is_what_stands_behind_the_colon_but_one_space(text: bytes, data: str) -> None:
    assert parse(text + b"\n\n") == [Message(data)]


@pytest.mark.parametrize(
    "text",
    [
        b": heartbeat\n\n",
        b":\n\n",
        b"event: progress\n\n",
        b"id: 3\n\n",
        b"retry: 10\n\n",
        b"unknown: x\n\n",
        b" data: x\n\n",
        b"DATA: x\n\n",
        b"\n\n\n",
    ],
)
def test_what_has_no_data_is_no_message(text: bytes) -> None:
    assert parse(text) == []


def test_a_kind_without_data_is_forgotten_and_an_id_is_not() -> None:
    assert parse(b"event: a\nid: 3\n\ndata: x\n\n") == [Message("x", "message", "3")]


def test_an_id_with_a_null_character_is_none() -> None:
    assert parse(b"id: 1\nid: 2\x00\ndata: x\n\n") == [Message("x", "message", "1")]


def test_a_byte_order_mark_is_dropped_once() -> None:
    mark = b"\xef\xbb\xbf"
    assert parse(mark[:1], mark[1:] + b"data: x\n\n" + mark + b"data: y\n\n") == [Message("x")]


def test_what_is_not_complete_was_never_sent() -> None:
    assert parse(b"data: x\n\ndata: y\n") == [Message("x")]


def test_a_message_comes_with_the_byte_that_completes_it() -> None:
    parser = Parser()
    assert parser.feed(b"data: x\r") == []
    assert parser.feed(b"\r") == [Message("x")]
    assert parser.feed(b"\n") == []
    assert parser.feed(b"data: y\n\n") == [Message("y")]


STORY = (
    "\ufeffid: 1\r\nevent: a\r\ndata: ☕\r\ndata: 2\r\n\r\n: x\n\rdata: 3\r\rdata\n\nid\n\ndata: [DONE]\n\n"
).encode()


@given(st.lists(st.integers(0, len(STORY)), max_size=12))
def test_where_a_stream_is_cut_makes_no_difference(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STORY)]
    pieces = [STORY[start:end] for start, end in pairwise(places)]
    assert parse(*pieces) == parse(STORY)
    assert [message.data for message in parse(STORY)] == ["☕\n2", "3", "", "[DONE]"]


@pytest.mark.parametrize(
    "piece", [b"data: " + b"x" * 100, b": " + b"x" * 100, b"data: xxxxxxxxxx\n" * 10, b"data:\n" * 101]
)
def test_a_message_is_bounded(piece: bytes) -> None:
    parser = Parser(limit=100)
    parts = [piece[place : place + 7] for place in range(0, len(piece), 7)]
    with pytest.raises(ValueError, match="more than 100 bytes"):
        list(map(parser.feed, parts))


def test_many_messages_are_not() -> None:
    parser = Parser(limit=100)
    assert sum(len(parser.feed(b"data: xxxxxxxxxx\n\n: beat\n\n")) for _ in range(100)) == 100
