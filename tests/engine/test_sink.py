"""Which connections may write while a file is reset."""

from __future__ import annotations

import threading
from pathlib import Path

from modelfetch.engine.candidates import Candidates
from modelfetch.engine.sink import Connection, Sink
from modelfetch.model.manifest import FileSpec
from modelfetch.store import Store
from tests.engine.fakes import OK, Laboratory, SpyDisk, body, sha256
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
