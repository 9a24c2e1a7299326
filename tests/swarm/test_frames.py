"""Frames between the run and its engine: read as written, and strictly."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from modelfetch.swarm import frames
from modelfetch.swarm.engine import (
    EngineError,
    Event,
    HashFailed,
    Listening,
    MetadataReceived,
    Peer,
    PeerBanned,
    PieceFinished,
    Ready,
    Removed,
    Status,
)
from modelfetch.swarm.frames import event_frame, frame, read_event, read_frame

PEER = Peer(
    "ab" * 20, "10.0.0.1:6881", is_seed=True, progress=1.0, upload_rate=1, download_rate=2, client="x/1"
)
EVENTS: list[Event] = [
    Listening(("127.0.0.1:1", "[::1]:1"), "cd" * 20),
    Ready("a"),
    PieceFinished("a", 7),
    HashFailed("a", 7),
    PeerBanned("a", "10.0.0.1:1"),
    Status("a", 1, 2, 3, 4, 5, peers=(PEER, PEER), is_last=True),
    MetadataReceived("a", b"d\n\xffe"),
    Removed("a"),
    EngineError("no\nspace \udc80", "a", is_fatal=True),
    EngineError("refused", "a", tracker="http://head:8765/announce"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    stream = io.BytesIO(event_frame(event) + event_frame(event))
    for _ in range(2):
        found = read_frame(stream)
        assert found is not None
        assert read_event(*found) == event
    assert read_frame(stream) is None


def test_a_frame_has_bytes_after_its_line() -> None:
    stream = io.BytesIO(frame({"do": "x"}, b"{}\n") + frame({"do": "y"}))
    assert [read_frame(stream) for _ in range(3)] == [({"do": "x"}, b"{}\n"), ({"do": "y"}, b""), None]


@pytest.mark.parametrize("data", [b"", b"{", b'{"bytes":5}\nabc'])
def test_the_end_in_the_middle_of_a_frame_is_the_end(data: bytes) -> None:
    assert read_frame(io.BytesIO(data)) is None


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"x\n",
        b"[]\n",
        b"1\n",
        b'{"bytes":-1}\n',
        b'{"bytes":true}\n',
        b'{"bytes":1e3}\n',
        b'{"bytes":99999999999}\n',
        b'{"a":"\xff"}\n',
    ],
)
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_frame(io.BytesIO(line))


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LINE_LIMIT", 10)
    with pytest.raises(ValueError, match="too long"):
        read_frame(io.BytesIO(b"x" * 20))


def status(**changes: Any) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(event_frame(EVENTS[5]))
    return head | changes


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "head",
    [
        {},
        {"event": "Restarted", "reason": ""},
        {"event": "EngineGone", "reason": ""},
        {"event": 1},
        {"event": "Ready"},
        {"event": "Ready", "infohash": 1},
        {"event": "Ready", "infohash": "a", "more": 1},
        {"event": "PieceFinished", "infohash": "a", "piece": True},
        {"event": "PieceFinished", "infohash": "a", "piece": 1.0},
        {"event": "Listening", "addresses": "a", "peer_id": "b"},
        {"event": "Listening", "addresses": [1], "peer_id": "b"},
        {"event": "EngineError", "message": "m", "infohash": "", "is_fatal": 1, "tracker": ""},
        status(peers=[["a"]]),
        status(peers=["a"]),
        status(peers=[["a", "b", 1, 0.5, 1, 1, "c"]]),
        status(peers=[["a", "b", True, 2.5, 1, 1, "c"]]),
        status(downloaded="1"),
        status(swarm_size=-1),
        status(swarm_size=10**400),
    ],
)
def test_what_is_no_event_is_refused(head: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_event(head, b"")
