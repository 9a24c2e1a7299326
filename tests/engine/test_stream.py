"""The loop over a run: numbered records, exactly one end whatever fails, and everything closed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from modelfetch.engine.events import Event, RunFinished, RunStarted
from modelfetch.engine.record import Record
from modelfetch.engine.stream import Hangup, Terminated, follow, records
from modelfetch.errors import StoreError
from tests.scripted import (
    MODEL,
    Script,
    at_once,
    committed,
    download,
    failed,
    planned,
    play,
    progress,
    started,
)

FILES = (("a.bin", 100_000_000), ("b.bin", 200_000_000))
BEGUN: list[Event] = [
    RunStarted("ensure", (MODEL,)),
    planned(FILES),
    started(*FILES[0]),
    committed(*FILES[0]),
    started(*FILES[1]),
    progress(FILES[1][0], 20_000_000, FILES[1][1]),
]


class Listener:
    """Keeps the records it receives; may raise at one of them."""

    def __init__(self, raises: BaseException | None = None, at: int = 0) -> None:
        self.heard: list[Record] = []
        self.closed = 0
        self._raises = raises
        self._at = at

    def report(self, record: Record) -> None:
        self.heard.append(record)
        if self._raises is not None and record.n == self._at:
            raise self._raises

    def close(self) -> None:
        self.closed += 1

    @property
    def ends(self) -> list[RunFinished]:
        return [record.event for record in self.heard if isinstance(record.event, RunFinished)]


def cut(raised: BaseException) -> Iterator[Event]:
    """An engine that begins, and then raises."""
    yield from BEGUN
    raise raised


def test_every_reporter_receives_every_record_in_order() -> None:
    first, second = Listener(), Listener()
    finished = play(at_once(download(FILES)), first, second)
    assert [record.n for record in first.heard] == list(range(len(download(FILES))))
    assert [record.event for record in first.heard] == download(FILES) == [r.event for r in second.heard]
    assert first.ends == [finished]
    assert (first.closed, second.closed) == (1, 1)


def test_records_carry_run_time_and_number() -> None:
    script = Script([(0.25, event) for event in download(FILES)])
    first = next(records(script(), clock=script.clock, now=script.now))
    assert (first.n, first.at.isoformat()) == (0, "2026-11-20T06:00:00.250000+00:00")
    assert len(first.run) == 12


def test_two_runs_have_two_names() -> None:
    names = {next(records(iter(download(FILES)))).run for _ in range(2)}
    assert len(names) == 2


def test_ctrl_c_in_the_engine_is_a_cancelled_run() -> None:
    listener = Listener()
    finished = follow(cut(KeyboardInterrupt()), [listener])
    assert (finished.outcome, finished.exit_code) == ("cancelled", 130)
    assert finished.error is not None
    assert finished.error.code == "cancelled"
    assert finished.error.message == "cancelled: 120 MB of 300 MB kept"
    assert finished.error.hint == "run the command again to continue"
    assert [(file.file, file.status) for file in finished.files] == [
        ("a.bin", "completed"),
        ("b.bin", "cancelled"),
    ]
    assert listener.ends == [finished]


@pytest.mark.parametrize(
    ("interrupt", "code"), [(Terminated(), 143), (Hangup(), 129), (KeyboardInterrupt(), 130)]
)
def test_each_signal_has_its_exit_code(interrupt: KeyboardInterrupt, code: int) -> None:
    assert follow(cut(interrupt), []).exit_code == code


def became_an_error(interrupt: KeyboardInterrupt) -> RuntimeError:
    """What Python 3.11 makes of an interrupt in ``__set_name__``."""
    error = RuntimeError("Error calling __set_name__")
    error.__cause__ = interrupt
    return error


@pytest.mark.parametrize(("interrupt", "code"), [(Terminated(), 143), (KeyboardInterrupt(), 130)])
def test_an_interrupt_that_became_an_error_is_one(interrupt: KeyboardInterrupt, code: int) -> None:
    finished = follow(cut(became_an_error(interrupt)), [])
    assert (finished.outcome, finished.exit_code) == ("cancelled", code)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), became_an_error(KeyboardInterrupt())])
def test_ctrl_c_in_a_reporter_closes_the_engine_and_is_reported_to_all(interrupt: BaseException) -> None:
    script = Script(at_once(BEGUN))
    interrupted, other = Listener(interrupt, at=3), Listener()
    finished = follow(script(), [interrupted, other])
    assert script.was_closed
    assert finished.outcome == "cancelled"
    assert interrupted.ends == other.ends == [finished]
    assert [record.n for record in other.heard] == [0, 1, 2, 3, 4]


def test_ctrl_c_at_the_very_end_does_not_undo_a_completed_run() -> None:
    last = len(download(FILES)) - 1
    interrupted, other = Listener(KeyboardInterrupt(), at=last), Listener()
    finished = play(at_once(download(FILES)), interrupted, other)
    assert finished.outcome == "completed"
    assert other.ends == [finished]


def test_a_second_ctrl_c_during_cleanup_still_gives_one_end() -> None:
    def engine() -> Iterator[Event]:
        try:
            yield from BEGUN
        finally:
            raise KeyboardInterrupt

    listener = Listener(KeyboardInterrupt(), at=2)
    assert follow(engine(), [listener]).exit_code == 130
    assert len(listener.ends) == 1


def test_a_cleanup_that_fails_still_gives_one_end(caplog: pytest.LogCaptureFixture) -> None:
    def engine() -> Iterator[Event]:
        try:
            yield from BEGUN
        finally:
            raise OSError("disk gone\x1b[31m")

    listener = Listener(KeyboardInterrupt(), at=2)
    assert follow(engine(), [listener]).outcome == "cancelled"
    assert [record.getMessage() for record in caplog.records] == ["cleanup failed: disk gone[31m"]


def test_a_cancelled_verify_does_not_mention_kept_bytes() -> None:
    def engine() -> Iterator[Event]:
        yield RunStarted("verify", (MODEL,))
        yield started(*FILES[0])
        raise KeyboardInterrupt

    finished = follow(engine(), [])
    assert finished.error is not None
    assert finished.error.message == "cancelled"


def test_an_expected_failure_that_escapes_ends_the_run_with_its_own_code() -> None:
    finished = follow(cut(StoreError("disk full", hint="make room")), [])
    assert (finished.outcome, finished.exit_code) == ("failed", 7)
    assert finished.error is not None
    assert (finished.error.code, finished.error.message, finished.error.hint) == (
        "disk",
        "disk full",
        "make room",
    )


def test_a_bug_is_reported_and_then_raised() -> None:
    listener = Listener()
    with pytest.raises(ZeroDivisionError):
        follow(cut(ZeroDivisionError("by zero")), [listener])
    (end,) = listener.ends
    assert (end.outcome, end.exit_code) == ("failed", 1)
    assert end.error is not None
    assert (end.error.code, end.error.message) == ("bug", "ZeroDivisionError: by zero")
    assert listener.closed == 1


def test_the_words_of_a_bug_have_no_secrets() -> None:
    """They are kept in histories and logs, and pasted into reports."""
    listener = Listener()
    with pytest.raises(ValueError, match="canary"):
        follow(cut(ValueError("GET https://a.example/f?sig=canary with Bearer canary")), [listener])
    (end,) = listener.ends
    assert end.error is not None
    assert end.error.message == "ValueError: GET https://a.example/f?*** with Bearer ***"


def test_an_engine_that_just_stops_has_a_bug() -> None:
    finished = follow(iter(BEGUN), [])
    assert (finished.outcome, finished.exit_code) == ("failed", 1)


def test_nothing_follows_the_end() -> None:
    listener = Listener()
    play(at_once([*download(FILES), RunStarted("ensure", ()), *download(FILES)]), listener)
    assert len(listener.ends) == 1
    assert isinstance(listener.heard[-1].event, RunFinished)


def test_a_broken_pipe_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """As after ``| head -1``."""
    gone, sound = Listener(BrokenPipeError(32, "Broken pipe"), at=1), Listener()
    with caplog.at_level(logging.WARNING):
        assert play(at_once(download(FILES)), gone, sound).outcome == "completed"
    assert (len(gone.heard), len(sound.heard)) == (2, len(download(FILES)))
    assert not caplog.records


def test_a_reporter_that_raises_is_dropped_once_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, sound = Listener(RuntimeError("\x1b]0;title\x07"), at=1), Listener()
    with caplog.at_level(logging.WARNING):
        finished = play(at_once(download(FILES)), broken, sound)
    assert finished.outcome == "completed"
    assert len(broken.heard) == 2
    assert len(sound.heard) == len(download(FILES))
    (warning,) = caplog.records
    assert warning.getMessage().startswith("reporting of this run failed: ")
    assert warning.getMessage().isprintable()
    assert (broken.closed, sound.closed) == (1, 1)


def test_a_reporter_that_cannot_close_does_not_keep_others_open() -> None:
    class Stuck(Listener):
        def close(self) -> None:
            raise OSError("stuck")

    other = Listener()
    assert play(at_once(download(FILES)), other, Stuck()).outcome == "completed"
    assert other.closed == 1


def test_leaving_the_records_early_closes_the_engine() -> None:
    script = Script(at_once(BEGUN))
    stream = records(script())
    next(stream)
    stream.close()
    assert script.was_closed


def test_an_interrupt_after_the_end_is_no_second_end() -> None:
    stream = records(iter([failed()]))
    next(stream)
    with pytest.raises(StopIteration):
        stream.throw(KeyboardInterrupt())
