"""Progress of files whose threads report nothing: those that stall, and those that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from modelfetch import errors
from modelfetch.cancel import Cancellation
from modelfetch.engine.batch_requests import Request, Requests
from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileStarted,
    FileVerified,
    Progress,
    RetryScheduled,
    SourceFailed,
)
from modelfetch.engine.progress import (
    ANNOUNCED_SECONDS,
    MOVED_SECONDS,
    SILENCE_SECONDS,
    WAITING_SECONDS,
    with_heartbeat,
)
from modelfetch.engine.verify import VerifyRequest, verify
from modelfetch.net.retry import RetryPolicy
from modelfetch.store import Store
from tests.engine.fakes import Answer, FakeClock, Gate, Laboratory, body, code, model, of, refuse
from tests.patience import HELD, IN_TIME

PIECE = 64 * 1024


@dataclass(frozen=True)
class End:
    """An item that is no event: how a file ended."""

    model: str
    file: str


Item = Event | End | str | None


def progress(file: str, received: int = 1) -> Progress:
    return Progress("m", file, "mirror", "a.example", 1, received, 10)


def heard(
    *items: tuple[float, Item],
    moves: dict[str, list[tuple[float, int]]] | None = None,
    requests: Callable[[Requests, float], None] = lambda _requests, _at: None,
) -> list[Item]:
    """What comes out when items come in.

    Args:
        items: Each with its time.
        moves: From when on how many bytes of a file are there.
        requests: Changes the requests under way before each item.
    """
    clock, under_way = FakeClock(), Requests()

    def happening() -> Iterator[Item]:
        for at, item in items:
            clock.now = 1000.0 + at
            requests(under_way, at)
            yield item

    def position(steps: list[tuple[float, int]]) -> Callable[[], int]:
        return lambda: max(received for at, received in steps if clock.now >= 1000.0 + at)

    positions = {("m", file): position(steps) for file, steps in (moves or {}).items()}
    return list(with_heartbeat(happening(), clock, positions, under_way))


def told(*items: tuple[float, Item], moves: dict[str, list[tuple[float, int]]] | None = None) -> list[Item]:
    """The same without the items that only show the time."""
    return [item for item in heard(*items, moves=moves) if item is not None]


def quiet(seconds: float, begin: float = 0.0) -> list[tuple[float, Item]]:
    """Look at the clock four times a second, as the real run does."""
    return [(begin + n / 4, None) for n in range(1, round(seconds * 4) + 1)]


def test_everything_is_passed_on_in_order() -> None:
    items: list[Item] = [progress("a"), None, FileVerified("m", "a", 10, ""), "the end of a"]
    assert heard(*((0.1 * n, item) for n, item in enumerate(items))) == items


def test_a_file_that_stands_still_is_told_again_every_second() -> None:
    out = heard((0, progress("a")), *quiet(5))
    assert out.count(progress("a")) == 1 + 5 / SILENCE_SECONDS


def test_bytes_that_came_before_a_pause_are_told_in_it() -> None:
    out = heard((0, progress("a", 1)), *quiet(0.5), moves={"a": [(0, 1), (0.1, 7)]})
    assert [item for item in out if item is not None] == [progress("a", 1), progress("a", 7)]


def test_what_was_told_from_here_is_not_taken_back_by_what_was_still_on_its_way() -> None:
    late = (0.3, progress("a", 4))
    out = heard((0, progress("a", 1)), (0.25, None), late, moves={"a": [(0, 1), (0.1, 7)]})
    assert [item for item in out if item is not None] == [progress("a", n) for n in (1, 7, 7)]


def test_a_file_that_begins_again_is_told_so() -> None:
    out = heard((0, progress("a", 7)), (0.3, progress("a", 0)), moves={"a": [(0, 0)]})
    assert out == [progress("a", 7), progress("a", 0)]


def test_a_file_that_gets_on_is_not_told_twice() -> None:
    items = [(at / 10, progress("a", at)) for at in range(1, 10)]
    moves = {"a": [(at / 10, at + 1) for at in range(10)]}
    assert heard(*items, moves=moves) == [item for _, item in items]
    assert MOVED_SECONDS > 0.1


def test_one_busy_file_does_not_hide_a_silent_one() -> None:
    silent = progress("silent")
    out = heard((0, silent), *((at, progress("busy", at)) for at in range(1, 4)))
    assert out.count(silent) == 4


def test_a_file_that_has_ended_is_silent() -> None:
    out = heard((0, progress("a")), (1, FileVerified("m", "a", 10, "")), (20, None))
    assert out.count(progress("a")) == 1


def test_the_pauses_are_shorter_than_the_contract_allows() -> None:
    assert max(SILENCE_SECONDS, WAITING_SECONDS, ANNOUNCED_SECONDS) + 0.25 <= 5.0


# Files that wait: attempt 0 means that no request is under way


def waiting(received: int = 1, source: str = "mirror", host: str = "a.example") -> Progress:
    return Progress("m", "a", source, host, 0, received, 10)


def left(next_source: str) -> SourceFailed:
    host = "b.example" if next_source else ""
    return SourceFailed("m", "a", "mirror", "a.example", "busy", "503", "", 4, next_source, host)


RETRY = RetryScheduled("m", "a", "mirror", "a.example", 2, "busy", "503", 60.0)
STARTED, VERIFIED = FileStarted("m", "a", 10, 3), FileVerified("m", "a", 10, "")


def test_a_file_that_waits_for_a_retry_is_reported() -> None:
    out = told((0, progress("a")), (1, RETRY), *quiet(10, begin=1))
    assert out == [progress("a"), RETRY, *[waiting()] * round(10 / WAITING_SECONDS)]


def test_a_file_that_waits_for_another_source_is_reported_with_that_source() -> None:
    out = told((0, progress("a")), (1, left("url")), *quiet(5, begin=1))
    assert out[2:] == [waiting(4, "url", "b.example")] * round(5 / WAITING_SECONDS)


def test_a_file_that_has_just_been_started_is_reported_without_a_source() -> None:
    assert told((0, STARTED), *quiet(3)) == [STARTED, waiting(3, "", "")]


def test_a_verified_file_is_reported_until_it_is_committed() -> None:
    committed = FileCommitted("m", "a", "/a", 10, "", "mirror", "a.example", 10, 9.0)
    out = told((0, progress("a", 10)), (0, VERIFIED), *quiet(3), (3, committed), *quiet(10, begin=3))
    assert out == [progress("a", 10), VERIFIED, waiting(10, "", ""), committed]


def test_the_next_attempt_ends_the_wait() -> None:
    again = replace(progress("a"), attempt=2)
    out = told((0, progress("a")), (1, RETRY), *quiet(3, begin=1), (4, again), (5.5, None))
    assert out == [progress("a"), RETRY, waiting(), again, again]


@pytest.mark.parametrize("end", [left(""), End("m", "a")])
def test_a_file_that_ended_is_not_reported(end: Event | End) -> None:
    assert told((0, progress("a")), (1, end), *quiet(20, begin=1)) == [progress("a"), end]


# Files of a batch: no event before the answer


def requested(until: float, received: Callable[[float], int] = lambda _: 0) -> Callable[..., None]:
    """A request of ``f`` from second 0 on."""
    request = Request("m", "f", "mirror", "a.example", 10, began=1000.0)

    def change(requests: Requests, at: float) -> None:
        request.received = received(at)
        requests.pop(("m", "f"), None)
        if at < until:
            requests["m", "f"] = request

    return change


def told_of(change: Callable[..., None], *items: tuple[float, Item]) -> list[Item]:
    return [item for item in heard(*items, requests=change) if item is not None]


ANNOUNCED = [FileStarted("m", "f", 10, 0), progress("f", 0)]


def test_a_request_without_an_answer_is_reported_every_second() -> None:
    out = told_of(requested(until=99), *quiet(5))
    assert out == [*ANNOUNCED, *[progress("f", 0)] * round(5 - ANNOUNCED_SECONDS)]


def test_a_quick_request_is_not_reported() -> None:
    assert told_of(requested(until=ANNOUNCED_SECONDS), *quiet(9)) == []


def test_the_bytes_of_a_slow_answer_are_reported() -> None:
    out = told_of(requested(until=99, received=lambda at: 2 * (at > 2) + 2 * (at > 3)), *quiet(4))
    assert out == [*ANNOUNCED, progress("f", 2), progress("f", 4)]


def test_a_request_that_the_batch_gave_up_is_reported_as_waiting_once() -> None:
    out = told_of(requested(until=2.5), *quiet(20))
    assert out == [*ANNOUNCED, replace(progress("f", 0), attempt=0)]


def test_the_events_of_a_file_follow_its_request() -> None:
    verified = FileVerified("m", "f", 10, "")
    assert told_of(requested(until=2.5), *quiet(2.5), (2.5, verified), (3, End("m", "f")), *quiet(9, 3)) == [
        *ANNOUNCED,
        verified,
        End("m", "f"),
    ]


def test_a_request_that_is_sent_again_counts_no_more_than_its_size() -> None:
    request = Request("m", "f", "mirror", "a.example", 10, 0.0)
    for _ in range(3):
        request.count(4)
    assert request.received == 10


# Real runs, which wait until the progress has come


class HeldWaits(Cancellation):
    """A cancellation whose long sleeps last until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def sleep(self, seconds: float) -> None:
        if seconds > 1.0:
            self.released.wait(IN_TIME)
        self.raise_if_cancelled()


def fast_clock() -> Callable[[], float]:
    """A clock that moves on by some seconds with each look at it."""
    return count(1000.0, 3.0).__next__


def seen(events: Iterator[Event], is_it: Callable[[Progress], bool], release: threading.Event) -> list[Event]:
    """Follow a run that is held until such progress came twice."""
    all_of_it: list[Event] = []
    times = 0
    for event in events:
        all_of_it.append(event)
        times += isinstance(event, Progress) and is_it(event)
        if times == 2:
            release.set()
    assert release.is_set()
    assert code(all_of_it) == 0
    return all_of_it


@pytest.mark.slow
def test_a_run_whose_files_all_wait_for_a_retry_reports_progress(lab: Laboratory) -> None:
    content, cancel = body(1000), HeldWaits()
    lab.serve(content, refuse(errors.Fault.BUSY, retry_after=60.0), Answer())
    runtime = lab.runtime(cancel=cancel, clock=fast_clock(), retry=RetryPolicy(base=HELD, cap=HELD))
    events = lab.follow(model("m", {"a": content}), runtime=runtime)
    out = seen(events, lambda event: not event.attempt and event.source == "mirror", cancel.released)
    assert len(of(out, RetryScheduled)) == 1


@pytest.mark.slow
def test_the_verification_of_a_file_on_a_slow_disk_reports_progress(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, released = body(1000), threading.Event()
    lab.install(model("m", {"a": content}), contents=[content])
    read = Store.read

    def slowly(self: Store, path: Path, expected: int) -> Iterator[bytes | memoryview]:
        released.wait(IN_TIME)
        yield from read(self, path, expected)

    monkeypatch.setattr(Store, "read", slowly)
    request = VerifyRequest([model("m", {"a": content})])
    events = verify(lab.runtime(clock=fast_clock()), request)
    seen(events, lambda event: not event.received, released)


@pytest.mark.slow
def test_a_copy_from_a_slow_disk_reports_progress(lab: Laboratory) -> None:
    content, gate = body(3 * PIECE), Gate()
    lab.serve(content, Answer(before_piece=gate, piece=PIECE), kind="local", host="/models")
    events = lab.follow(model("m", {"a": content}), runtime=lab.runtime(clock=fast_clock()))
    seen(events, lambda event: gate.reached.is_set() and event.source == "local", gate.opened)


@pytest.mark.slow
def test_a_slow_commit_reports_progress(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    content, released = body(1000), threading.Event()
    lab.serve(content)
    commit = Store.commit

    def slowly(self: Store, *args: object, **options: object) -> object:
        released.wait(IN_TIME)
        return commit(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "commit", slowly)
    events = lab.follow(model("m", {"a": content}), runtime=lab.runtime(clock=fast_clock()))
    seen(events, lambda event: event.received == 1000 and not event.attempt, released)


@pytest.mark.slow
def test_a_run_tells_of_the_bytes_before_a_stall_while_it_lasts(tmp_path: Path) -> None:
    """The bytes come in two pieces at once, then nothing until they have been told of."""
    content, gate, asked = body(3 * PIECE), Gate(), iter(range(3))

    def third_waits() -> None:
        if next(asked) == 2:
            gate()

    lab = Laboratory(tmp_path)
    lab.serve(content, Answer(before_piece=third_waits, piece=PIECE))
    seen: list[int] = []
    for event in lab.follow(model("m", {"a": content})):
        if isinstance(event, Progress):
            seen.append(event.received)
            if gate.reached.is_set() and event.received == 2 * PIECE:
                gate.opened.set()
    assert 2 * PIECE in seen
    assert seen == sorted(seen)
