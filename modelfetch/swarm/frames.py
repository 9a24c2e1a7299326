"""Frames between a run and its engine: a line of JSON, and bytes after it if the line says so.

Both sides read strictly. What is malformed, unknown or too large ends the connection: the other side is then
another program, or damaged. Example, a piece of 16 KiB on its way to the engine::

    {"do": "add_piece", "infohash": "3f0e...", "piece": 7, "bytes": 16384}
    <16384 bytes>

Events (:mod:`modelfetch.swarm.engine`) are frames with the name of their class under ``event``, and their
fields. A field of type bytes is not in the line, but after it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, cast

from modelfetch.swarm import engine
from modelfetch.swarm.engine import Event, Peer
from modelfetch.swarm.metainfo import METAINFO_LIMIT

LINE_LIMIT: Final = 32 * 1024 * 1024
"""Longest line in bytes: the paths of 20,000 files, 1,024 bytes each, and what JSON adds."""
BYTES_LIMIT: Final = METAINFO_LIMIT
"""Most bytes after a line: a torrent file; a piece is smaller."""

_INT_LIMIT: Final = 1 << 63
"""No figure of an engine has more than 64 bits; a larger one could not be divided as a float."""

_EVENTS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        engine.Listening,
        engine.Ready,
        engine.PieceFinished,
        engine.HashFailed,
        engine.PeerBanned,
        engine.Status,
        engine.MetadataReceived,
        engine.Removed,
        engine.EngineError,
    )
}
"""Events that an engine sends; the others are made by the side that reads."""


def frame(head: Mapping[str, object], data: bytes = b"") -> bytes:
    """Format a frame."""
    line = json.dumps({**head, **({"bytes": len(data)} if data else {})}, separators=(",", ":"))
    return line.encode() + b"\n" + data


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Read a frame; None at the end of the stream, also in the middle of a frame.

    Raises:
        ValueError: What comes is no frame.
    """
    line = stream.readline(LINE_LIMIT)
    if not line.endswith(b"\n"):
        if len(line) >= LINE_LIMIT:
            raise ValueError("a line is too long")
        return None
    head = json.loads(line)  # JSONDecodeError is a ValueError; the nesting is limited by the recursion limit
    if not isinstance(head, dict):
        raise ValueError("a line is no object")  # noqa: TRY004 - of another process, not of a caller
    size = head.pop("bytes", 0)
    if type(size) is not int or not 0 <= size <= BYTES_LIMIT:
        raise ValueError("a frame is too large")
    data = stream.read(size) if size else b""
    return (head, data) if len(data) == size else None


def event_frame(event: Event) -> bytes:
    """Format an event."""
    data = b""
    head: dict[str, object] = {"event": type(event).__name__}
    for name in type(event).__annotations__:
        value = getattr(event, name)
        if isinstance(value, bytes):
            data = value
        else:
            head[name] = [*map(_row, value)] if isinstance(value, tuple) else value
    return frame(head, data)


def read_event(head: dict[str, Any], data: bytes) -> Event:
    """Make the event of a frame.

    Raises:
        ValueError: It is none.
    """
    kind = _EVENTS.get(str(head.pop("event", "")))
    if kind is None:
        raise ValueError("an unknown event")
    return cast("Event", _made(kind, head, data))


def _row(value: object) -> object:
    """Return what stands for a value in a list: a peer is the list of its fields."""
    return [getattr(value, name) for name in Peer.__annotations__] if isinstance(value, Peer) else value


def _made(kind: type[Any], fields: dict[str, Any], data: bytes) -> Any:
    """Make a value whose fields all have the types that its class notes, and no others."""
    notes = kind.__annotations__
    if fields.keys() != {name for name, note in notes.items() if note != "bytes"}:
        raise ValueError(f"a {kind.__name__} with other fields")
    values = {name: _checked(note, fields[name]) for name, note in notes.items() if note != "bytes"}
    return kind(**values, **{name: data for name, note in notes.items() if note == "bytes"})


def _checked(note: str, value: Any) -> Any:
    if note == "float":
        is_right = type(value) in (int, float) and 0 <= value <= 1
    elif note.startswith("tuple["):
        if not isinstance(value, list):
            raise ValueError("a field is no list")
        inner = note.removeprefix("tuple[").removesuffix(", ...]")
        return tuple(_checked(inner, each) for each in value)
    elif note == "Peer":
        if not isinstance(value, list) or len(value) != len(Peer.__annotations__):
            raise ValueError("a peer with other fields")
        return _made(Peer, dict(zip(Peer.__annotations__, value, strict=True)), b"")
    elif note == "int":
        is_right = type(value) is int and 0 <= value < _INT_LIMIT
    else:
        is_right = type(value) is {"str": str, "bool": bool}[note]
    if not is_right:
        raise ValueError("a field has another type")
    return value
