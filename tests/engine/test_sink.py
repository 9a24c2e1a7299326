"""Which connections may write while a file is reset."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from modelfetch.engine.candidates import Candidates
from modelfetch.engine.segments import Segment
from modelfetch.engine.sink import Connection, Sink
from modelfetch.model.manifest import FileSpec
from modelfetch.store import Store
from tests.engine.fakes import EAGER, OK, Answer, Laboratory, SpyDisk, body, sha256
from tests.patience import HELD, IN_TIME

CONTENT = body(100_000)
FILE = FileSpec("f.bin", len(CONTENT), sha256(CONTENT))


def test_a_late_piece_is_written_before_a_reset_or_not_at_all(lab: Laboratory) -> None:
    """A stopped connection may hold a piece, which must not stay among the bytes of the next attempt."""
    reached, go = threading.Event(), threading.Event()

    def hold(operation: str, path: Path) -> bool:
        if operation == "write" and path.name == "data" and not reached.is_set():
            reached.set()
            go.wait(HELD)
        return False

    store = Store(lab.root, disk=SpyDisk(hold))
    offer = lab.serve(CONTENT, OK, OK)
    candidates = Candidates([offer])
    [candidate] = candidates.remaining()
    with store.partial(FILE, exclusive=True) as partial:
        sink = Sink(lab.runtime(store=store), partial, candidates)
        segment = sink.segments.claim()
        assert segment is not None
        pieces = sink.copy(Connection(candidate, segment), offer.open(0), FILE.size)
        late = threading.Thread(target=lambda: list(pieces))
        late.start()
        assert reached.wait(IN_TIME)

        def reset() -> None:
            with sink.exclusive():
                partial.restart()
                sink.reset()

        first = threading.Thread(target=reset)
        first.start()
        first.join(0.05)
        assert first.is_alive(), "it waits for the piece that is being written"
        go.set()
        first.join(IN_TIME)
        late.join(IN_TIME)
        assert partial.received == 0, "nothing of the late piece was written after the reset"
        assert sink.suppliers == {}


@pytest.mark.parametrize("is_whole", [False, True], ids=["range", "whole file"])
def test_bytes_that_are_given_back_behind_an_answer_are_not_taken_from_its_next_piece(
    lab: Laboratory, is_whole: bool
) -> None:
    """Another connection fails while this one has just dropped its bytes, which were in the same piece."""
    offer = lab.serve(CONTENT, Answer(whole=is_whole))
    candidates = Candidates([offer])
    with lab.store.partial(FILE, exclusive=True) as partial:
        sink = Sink(lab.runtime(split_policy=EAGER), partial, candidates)
        segment = sink.segments.claim()
        sink.segments.split(2)
        other = sink.segments.claim()
        assert segment is not None
        assert other is not None
        claim_next, others = sink.segments.claim_next, [other]

        def fail_meanwhile(segment: Segment, **how: Any) -> Segment | None:
            found = claim_next(segment, **how)
            if others:
                sink.segments.release(others.pop())
            return found

        sink.segments.claim_next = fail_meanwhile  # type: ignore[method-assign]
        connection = Connection(candidates.remaining()[0], segment)
        list(sink.copy(connection, offer.open(0), FILE.size))
        assert not others
        for start, end, _ in partial.parts:
            assert (lab.root / "partial" / FILE.sha256 / "data").read_bytes()[start:end] == CONTENT[start:end]
