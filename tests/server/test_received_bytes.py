"""What the runs of a server received, by source."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from modelfetch.engine.events import Event, FileCommitted, FileStarted, Part, Progress
from modelfetch.engine.record import Record
from modelfetch.engine.state import RunState
from modelfetch.server.received_bytes import Rate, ReceivedBytes

MIRROR, PEER = "mirror a.example", "peer b.example:8765"


def after(*events: Event) -> Counter[str]:
    received = ReceivedBytes()
    reporter = received.reporter()
    for n, event in enumerate(events):
        reporter.report(Record("r", n, datetime.now(UTC), event, RunState()))
    reporter.close()
    return received.counts()


def progress(received: int, parts: tuple[Part, ...] = (), source: str = MIRROR, attempt: int = 1) -> Progress:
    kind, _, host = source.partition(" ")
    return Progress("m", "f", kind, host, attempt, received, 1000, parts)


def committed(parts: tuple[Part, ...] = (), source: str = MIRROR, model: str = "m") -> FileCommitted:
    kind, _, host = source.partition(" ")
    return FileCommitted(model, "f", "/f", 1000, "0" * 64, kind, host, 1000, 1.0, parts=parts)


STARTED = FileStarted("m", "f", 1000, 0)


def test_bytes_count_as_they_come() -> None:
    assert after(STARTED, progress(0), progress(400)) == {MIRROR: 400}
    assert after(STARTED, progress(0), progress(400), committed()) == {MIRROR: 1000}


def test_a_file_of_a_batch_has_no_progress() -> None:
    assert after(STARTED, committed()) == {MIRROR: 1000}


def test_each_source_has_its_bytes() -> None:
    both = ((0, 300, PEER), (300, 1000, MIRROR))
    assert after(STARTED, progress(300, source=PEER), committed(both)) == {PEER: 300, MIRROR: 700}


def test_bytes_of_an_earlier_run_were_not_received() -> None:
    """Only the first event after them says whose they are."""
    resumed = FileStarted("m", "f", 1000, 300)
    before, after_it = ((0, 300, PEER),), ((0, 300, PEER), (300, 500, MIRROR))
    assert after(resumed, progress(300, before), progress(500, after_it)) == {MIRROR: 200}
    assert after(resumed, committed(((0, 1000, PEER),), source="cache ")) == {}


def test_bytes_on_this_disk_were_not_received() -> None:
    parts = ((0, 300, "cache chunks"), (300, 500, "local /models"), (500, 1000, PEER))
    assert after(STARTED, committed(parts, source=PEER)) == {PEER: 500}
    assert after(STARTED, progress(1000, source="cache "), committed(source="cache ")) == {}


def test_what_was_wrong_was_received_all_the_same() -> None:
    """A restart counts again, and nothing is taken away."""
    assert after(STARTED, progress(600, source=PEER), progress(0), committed()) == {PEER: 600, MIRROR: 1000}


def test_the_same_bytes_in_two_models_were_received_once() -> None:
    assert after(STARTED, committed(), committed(model="other")) == {MIRROR: 1000}


def test_a_wait_is_no_source() -> None:
    assert after(STARTED, progress(400), progress(400, source=PEER, attempt=0)) == {MIRROR: 400}


def test_a_rate_needs_two_readings_and_forgets_the_old_ones() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])
    assert rate.of(1000) is None
    now[0] = 0.1
    assert rate.of(9000) is None  # another tab has just asked
    seen = []
    for second in range(1, 12):
        now[0] = float(second)
        seen.append(rate.of(1000 + second * 100))
    assert set(seen) == {100}
    for second in range(12, 20):
        now[0] = float(second)
        seen.append(rate.of(2100))
    assert seen[-1] == 0
    now[0] = 100.0
    assert rate.of(1_000_000) is None
