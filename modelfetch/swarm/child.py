"""The child process that runs the engine: ``python -m modelfetch.swarm.child``.

It carries out what frames on stdin ask for, and writes events as frames to stdout
(:mod:`modelfetch.swarm.frames`). It ends when stdin is closed, or, on Linux, with the thread that started it.
A native library may crash, and it talks to strangers: so it has a process of its own, with no secret in its
environment, and the run goes on without it.

Anything that is malformed ends it with exit code 2 and a line on stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

from modelfetch import threads
from modelfetch.swarm.engine import Engine, EngineError, EngineOptions, Event, Mode, TorrentSpec
from modelfetch.swarm.frames import event_frame, read_frame

MALFORMED: Final = 2
"""Exit code after a frame that is none."""
NOT_INSTALLED: Final = 3
"""Exit code without libtorrent."""
_POLL_SECONDS: Final = 0.1
"""Longest wait for events, and so between two looks whether the run has ended."""
_CLOSE_SECONDS: Final = 2.0
"""Longest wait at the end for each: the thread of events, and announcements to trackers, which have a second
each (``stop_tracker_timeout``). The run waits a little longer before it kills this process."""
_PR_SET_PDEATHSIG: Final = 1
"""Of ``prctl(2)``, from ``linux/prctl.h``."""


def main() -> None:
    """Run the engine until stdin ends."""
    _end_with_parent()
    # libtorrent must not be able to write between frames; what it prints goes to stderr.
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        from modelfetch.swarm.libtorrent_engine import LibtorrentEngine
    except ImportError as error:
        print(f"libtorrent cannot be loaded: {error}", file=sys.stderr)
        os._exit(NOT_INSTALLED)
    run(LibtorrentEngine(), sys.stdin.buffer, output)


def run(engine: Engine, source: BinaryIO, output: BinaryIO) -> None:
    """Carry out frames until the source ends; then the process ends at once, whatever threads it has."""
    code = 0
    try:
        first = read_frame(source)
        if first is not None:
            _start(engine, first[0])
            _serve(engine, source, output)
    except (ValueError, KeyError, TypeError) as error:
        print(f"malformed frame: {error}", file=sys.stderr)
        code = MALFORMED
    sys.stderr.flush()
    os._exit(code)


def _serve(engine: Engine, source: BinaryIO, output: BinaryIO) -> None:
    """Carry out frames of a run, and report events to it, until the source ends or a frame is malformed."""
    failed: SimpleQueue[Event] = SimpleQueue()
    is_over = threading.Event()
    reporting = threads.require(lambda: _report(engine, failed, output, is_over), "events")
    try:
        while (frame := read_frame(source)) is not None:
            _carry_out(engine, failed, *frame)
    finally:
        # First, as it uses the session: libtorrent announces the end when the last user of that is gone.
        is_over.set()
        reporting.join(_CLOSE_SECONDS)
        # A tracker that does not answer must not keep the process: the end is announced meanwhile.
        closing = threads.start(engine.close, "close")
        if closing is not None:
            closing.join(_CLOSE_SECONDS)


def _start(engine: Engine, head: dict[str, Any]) -> None:
    head.pop("do")
    engine.start(
        EngineOptions(
            **{
                **head,
                "staging": Path(head["staging"]),
                "peer_id": bytes.fromhex(head["peer_id"]),
                "listen": tuple(head["listen"]),
            }
        )
    )


def _carry_out(engine: Engine, failed: SimpleQueue[Event], head: dict[str, Any], data: bytes) -> None:
    match head.pop("do"):
        case "add":
            _add(engine, failed, head, data)
        case "add_piece":
            engine.add_piece(head["infohash"], head["piece"], data)
        case "peers":
            engine.peers(head["infohash"], head["addresses"])
        case "remove":
            engine.remove(head["infohash"])
        case other:
            raise ValueError(f"cannot do {other!r}")


def _add(engine: Engine, failed: SimpleQueue[Event], head: dict[str, Any], data: bytes) -> None:
    """Add a torrent. What is wrong with it is reported: the other torrents go on."""
    spec = TorrentSpec(
        infohash=head["infohash"],
        metainfo=data,
        paths={path: Path(place) for path, place in head["paths"].items()},
        mode=Mode(head["mode"]),
        trackers=tuple(head["trackers"]),
        peers=tuple(head["peers"]),
    )
    try:
        engine.add(spec)
    except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: what libtorrent raises
        failed.put(EngineError(f"the torrent cannot be added: {error}", spec.infohash, is_fatal=True))


def _report(engine: Engine, failed: SimpleQueue[Event], output: BinaryIO, is_over: threading.Event) -> None:
    """Write events until the end, or until the other side has gone."""
    try:
        while not is_over.is_set():
            events = [*engine.events(_POLL_SECONDS)]
            while not failed.empty():
                events.append(failed.get())
            if events:
                _write(output, b"".join(map(event_frame, events)))
    except OSError:  # nobody reads: the run has ended
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def _write(output: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[output.write(rest) :]


def _end_with_parent() -> None:
    """Let the kernel end this process when the thread that started it ends, however it ends."""
    if sys.platform != "linux":
        return
    import ctypes

    # Where the C library refuses, the end of stdin is left. No other signal ends a process that is stopped,
    # which would go on to hold its port.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
