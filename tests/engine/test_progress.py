"""A sign of life from files that have nothing new to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from modelfetch.engine.events import Event, FileVerified, Progress
from modelfetch.engine.progress import MOVED_SECONDS, SILENCE_SECONDS, with_heartbeat
from tests.engine.fakes import Answer, FakeClock, Gate, Laboratory, body, model

PIECE = 64 * 1024

Item = Event | str | None


def progress(file: str, received: int = 1) -> Progress:
    return Progress("m", file, "mirror", "a.example", 1, received, 10)


def heard(*items: tuple[float, Item], moves: dict[str, list[tuple[float, int]]] | None = None) -> list[Item]:
    """What comes out when items come in; ``moves`` says from when on how many bytes are there."""
    clock = FakeClock()

    def happening() -> Iterator[Item]:
        for at, item in items:
            clock.now = 1000.0 + at
            yield item

    def position(steps: list[tuple[float, int]]) -> Callable[[], int]:
        return lambda: max(received for at, received in steps if clock.now >= 1000.0 + at)

    positions = {("m", file): position(steps) for file, steps in (moves or {}).items()}
    return list(with_heartbeat(happening(), clock, positions))


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


def test_the_pause_is_short_enough_for_a_follower() -> None:
    assert SILENCE_SECONDS <= 5.0


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
