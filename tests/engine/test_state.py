"""The state of a run: right totals, 100 percent only when done, and the speed of received bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from modelfetch.engine.events import (
    Event,
    FileKept,
    FileQuarantined,
    FileVerified,
    LockWaiting,
    Planned,
    PlannedFile,
    Progress,
    RetryScheduled,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.state import FileState, RunState
from tests.scripted import (
    MODEL,
    Timed,
    already_there,
    at_once,
    check,
    committed,
    completed,
    download,
    planned,
    progress,
    started,
)

BIG = ("big.bin", 100_000_000)
SMALL = ("small.bin", 1_000_000)


def folded(timed: Iterable[Timed]) -> RunState:
    state = RunState()
    for at, event in timed:
        state.apply(event, 1000 + at)
    return state


def one(events: Iterable[Event]) -> FileState:
    """Fold events about the big file after its plan, a tenth of a second apart."""
    state = folded(at_once([RunStarted("ensure", (MODEL,)), planned([BIG]), *events]))
    return state.files[MODEL, BIG[0]]


def at_big(received: int) -> tuple[str, int, int]:
    """Say how far the big file is."""
    return BIG[0], received, BIG[1]


def retry(wait: float = 2.0) -> RetryScheduled:
    return RetryScheduled(MODEL, BIG[0], "mirror", "m.example", 2, "busy", "503 Service Unavailable", wait)


def left(received: int, next_source: str = "huggingface") -> SourceFailed:
    return SourceFailed(
        MODEL,
        BIG[0],
        "mirror",
        "m.example",
        "not_found",
        "404",
        "",
        received,
        next_source,
        "hf.example" if next_source else "",
    )


def test_a_whole_download_ends_with_everything_done() -> None:
    totals = folded(at_once(download())).totals
    assert (totals.percent, totals.files, totals.files_done) == (100, 9, 9)
    assert totals.received == totals.size == 295_289_621
    assert totals.eta == 0


def test_nothing_planned_is_nothing_done() -> None:
    totals = RunState().totals
    assert (totals.percent, totals.files, totals.size, totals.speed, totals.eta) == (0, 0, 0, None, 0)


def test_files_that_were_there_are_done_and_no_speed() -> None:
    state = folded(at_once(already_there()))
    assert state.totals.percent == 100
    assert state.totals.speed is None
    assert {file.source for file in state.files.values()} == {"cache"}


def test_a_file_goes_through_its_phases() -> None:
    received = BIG[1] // 2
    events: list[Event] = []
    phases = [one(events).phase]
    for event in (
        started(*BIG),
        progress(BIG[0], 0, BIG[1], "mirror", "m.example"),
        retry(),
        progress(BIG[0], received, BIG[1], "mirror", "m.example"),
        left(received),
        progress(*BIG, BIG[1]),
        FileVerified(MODEL, *BIG, "0" * 64),
        committed(*BIG),
    ):
        events.append(event)
        phases.append(one(events).phase)
    assert phases == [
        "queued",
        "fetching",
        "fetching",
        "retrying",
        "fetching",
        "fetching",
        "verifying",
        "verifying",
        "done",
    ]


def test_percent_is_100_only_when_done() -> None:
    assert one([started(*BIG), progress(*BIG, BIG[1])]).percent < 100
    assert one([started(*BIG), committed(*BIG)]).percent == 100


def test_an_empty_file_is_at_0_until_it_is_done() -> None:
    empty = ("empty", 0)
    events: list[Event] = [RunStarted("ensure", (MODEL,)), planned([empty]), started(*empty)]
    assert folded(at_once(events)).totals.percent == 0
    assert folded(at_once([*events, committed(*empty)])).totals.percent == 100


def test_a_retry_says_when_and_why_and_has_no_speed() -> None:
    steps = [progress(BIG[0], n * 1_000_000, BIG[1]) for n in range(10)]
    file = one([started(*BIG), *steps, retry(wait=2.0)])
    assert file.speed is None
    assert file.eta is None
    assert file.retry_at == pytest.approx(1000 + 1.3 + 2.0)
    assert (file.attempt, file.fault, file.note) == (2, "busy", "503 Service Unavailable")


def waits(source: str = "mirror", host: str = "m.example", received: int = 0) -> Progress:
    """Progress of the big file while no request is under way."""
    return progress(BIG[0], received, BIG[1], source, host, attempt=0)


def test_progress_during_a_wait_changes_nothing_that_is_shown() -> None:
    events: list[Event] = [started(*BIG), progress(BIG[0], 0, BIG[1], "mirror", "m.example"), retry()]
    before, after = one(events), one([*events, waits(), waits()])
    assert (after.phase, after.attempt, after.retry_at) == ("retrying", 2, before.retry_at)
    assert (after.source, after.host, after.idle) == ("mirror", "m.example", None)
    before, after = one([*events, left(5)]), one([*events, left(5), waits("huggingface", "hf.example", 5)])
    assert replace(after, meter=before.meter) == before


def test_a_verified_file_that_waits_for_its_place_is_verified_still() -> None:
    verified = FileVerified(MODEL, *BIG, "0" * 64)
    assert one([started(*BIG), verified, waits("", "", BIG[1])]).phase == "verifying"
    assert one([started(*BIG), verified, committed(*BIG), waits("", "", BIG[1])]).phase == "done"


def test_a_file_that_a_batch_gave_up_waits_for_its_turn() -> None:
    file = one([started(*BIG), progress(BIG[0], 7, BIG[1]), waits()])
    assert (file.phase, file.received, file.speed, file.idle) == ("queued", 0, None, None)


def test_the_run_is_not_idle_while_no_file_is_requested() -> None:
    begin: list[Timed] = [(0.0, RunStarted("ensure", (MODEL,))), (0.0, planned([BIG])), (0.0, started(*BIG))]
    waiting = [*begin, (1.0, progress(BIG[0], 0, BIG[1])), (2.0, left(0)), (5.0, waits()), (20.0, waits())]
    assert (folded(waiting).totals.idle, folded(waiting).totals.speed) == (None, None)
    asked: list[Timed] = [(30.0, progress(BIG[0], 0, BIG[1])), (33.0, progress(BIG[0], 0, BIG[1]))]
    assert folded([*waiting, *asked]).totals.idle == pytest.approx(3.0)


def test_the_time_of_a_retry_wait_is_not_slowness_of_the_file() -> None:
    timed = at_once([RunStarted("ensure", (MODEL,)), planned([BIG]), started(*BIG)])
    timed += [(1 + n / 10, progress(BIG[0], n * 1000, BIG[1], "mirror", "m.example")) for n in range(10)]
    timed += [(2.0, retry(wait=100))]
    timed += [
        (102 + n / 10, progress(BIG[0], 9000 + n * 1000, BIG[1], "mirror", "m.example")) for n in range(9)
    ]
    assert folded(timed).files[MODEL, BIG[0]].speed == pytest.approx(10_000, rel=0.1)


def moving(rate: int, begin: float, end: float, received: int = 0, attempt: int = 1) -> list[Timed]:
    """A tenth of a second apart, so many bytes more a second."""
    steps = range(round((end - begin) * 10) + 1)
    return [
        (begin + n / 10, progress(*at_big(received + rate * n // 10), "mirror", "m.example", attempt=attempt))
        for n in steps
    ]


def stall(seconds: float, *more: Timed) -> RunState:
    """Five seconds of bytes, and then a sign of life a second without any."""
    events: list[Timed] = [(0, planned([BIG])), (0, started(*BIG)), *moving(1_000_000, 0, 5)]
    still = progress(*at_big(5_000_000), "mirror", "m.example")
    beats: list[Timed] = [(5.0 + n, still) for n in range(1, int(seconds) + 1)]
    return folded([*events, *beats, *more])


@pytest.mark.parametrize(("seconds", "idle"), [(1, None), (2, 2.0), (12, 12.0)])
def test_after_two_seconds_without_a_byte_there_is_no_speed_and_no_eta(
    seconds: int, idle: float | None
) -> None:
    state = stall(seconds)
    file = state.files[MODEL, BIG[0]]
    for figures in (file, state.totals):
        assert figures.idle == (None if idle is None else pytest.approx(idle))
        assert (figures.speed is None) == (figures.eta is None) == (idle is not None)


def test_an_answer_whose_first_byte_does_not_come_is_without_data_too() -> None:
    waiting = progress(*at_big(0), "mirror", "m.example")
    state = folded([(0, planned([BIG])), (0, started(*BIG)), (7, waiting), (10, waiting)])
    assert state.files[MODEL, BIG[0]].idle == pytest.approx(3)


def test_the_next_byte_ends_it() -> None:
    state = stall(12, (17.1, progress(*at_big(5_100_000), "mirror", "m.example")))
    assert state.files[MODEL, BIG[0]].idle is state.totals.idle is None
    assert state.files[MODEL, BIG[0]].speed is not None


def test_one_file_without_data_beside_another_that_gets_some() -> None:
    other = ("other.bin", 50_000_000)
    state = folded(
        [
            (0, planned([BIG, other])),
            (0, started(*BIG)),
            (0, started(*other)),
            (0, progress(*at_big(0))),
            *((n / 10, progress(other[0], n * 100_000, other[1])) for n in range(50)),
            (5, progress(*at_big(0))),
        ]
    )
    assert state.files[MODEL, BIG[0]].idle == pytest.approx(5)
    assert state.totals.idle is None
    assert state.totals.speed is not None


def test_a_file_that_is_hashed_or_waits_to_be_tried_again_is_not_without_data() -> None:
    done, again = progress(*at_big(BIG[1])), progress(*at_big(BIG[1]))
    assert folded([(0, started(*BIG)), (1, done), (20, again)]).files[MODEL, BIG[0]].idle is None
    assert stall(12, (18, retry(30)), (40, RunStarted("ensure", ()))).totals.idle is None


def test_after_a_retry_the_speed_is_that_of_the_new_bytes() -> None:
    slower = moving(10_000, 20, 22, received=5_000_000, attempt=2)
    state = stall(12, (18, retry(2.0)), *slower)
    assert state.files[MODEL, BIG[0]].speed == pytest.approx(10_000)
    assert state.totals.speed == pytest.approx(10_000)


def test_leaving_a_source_keeps_the_good_prefix_and_forgets_its_speed() -> None:
    steps = [progress(BIG[0], n * 1_000_000, BIG[1], "mirror", "m.example") for n in range(10)]
    file = one([started(*BIG), *steps, left(9_000_000)])
    assert (file.received, file.source, file.host, file.speed) == (
        9_000_000,
        "huggingface",
        "hf.example",
        None,
    )


def test_a_change_of_source_without_a_failure_forgets_the_speed_too() -> None:
    steps = [progress(BIG[0], n * 1_000_000, BIG[1], "mirror", "m.example") for n in range(10)]
    assert one([started(*BIG), *steps]).speed is not None
    assert one([started(*BIG), *steps, progress(BIG[0], 9_500_000, BIG[1])]).speed is None


def test_a_file_without_a_source_left_is_failed_and_not_waited_for() -> None:
    events: list[Event] = [
        RunStarted("ensure", (MODEL,)),
        planned([BIG, SMALL]),
        started(*BIG),
        left(0, next_source=""),
    ]
    state = folded(at_once([*events, started(*SMALL), committed(*SMALL)]))
    assert state.files[MODEL, BIG[0]].phase == "failed"
    assert state.totals.eta == 0
    assert state.totals.percent < 100


def test_resumed_bytes_are_received_and_no_speed() -> None:
    offset = 90_000_000
    steps: list[Event] = [progress(BIG[0], offset + n * 100_000, BIG[1]) for n in range(10)]
    state = folded(at_once([RunStarted("ensure", (MODEL,)), planned([BIG]), started(*BIG, offset), *steps]))
    file = state.files[MODEL, BIG[0]]
    assert (file.kept, file.received) == (offset, offset + 900_000)
    assert file.speed == pytest.approx(1_000_000, rel=0.2)
    assert state.totals.speed == pytest.approx(1_000_000, rel=0.2)


def test_a_partial_counts_as_received_before_it_is_started() -> None:
    plan = Planned(
        MODEL,
        "1",
        "",
        "MIT",
        "",
        "",
        "/x",
        BIG[1],
        60_000_000,
        (PlannedFile(*BIG, "0" * 64, "partial", 40_000_000, ("url h",)),),
    )
    assert folded(at_once([RunStarted("ensure", (MODEL,)), plan])).totals.percent == pytest.approx(40)


def test_starting_over_is_no_negative_speed() -> None:
    steps = [progress(BIG[0], n * 10_000_000, BIG[1]) for n in range(5)]
    again = [progress(BIG[0], n * 10_000_000, BIG[1]) for n in range(5)]
    file = one([started(*BIG), *steps, *again])
    assert file.received == 40_000_000
    assert file.speed is not None
    assert file.speed > 0


def test_progress_overtaken_by_the_end_changes_nothing() -> None:
    assert one([started(*BIG), committed(*BIG), progress(BIG[0], 5, BIG[1])]).phase == "done"


def test_the_run_ends_no_sooner_than_its_slowest_file() -> None:
    timed = at_once([RunStarted("ensure", (MODEL,)), planned([BIG, SMALL]), started(*BIG), started(*SMALL)])
    for n in range(1, 11):
        timed.append((1 + n / 10, progress(BIG[0], 90_000_000 + n * 900_000, BIG[1])))
        timed.append((1 + n / 10, progress(SMALL[0], n * 100, SMALL[1])))
    state = folded(timed)
    slowest = state.files[MODEL, SMALL[0]].eta
    assert slowest is not None
    assert slowest > 500
    assert state.totals.eta == slowest


def test_waiting_for_a_lock_is_not_slowness_of_the_run() -> None:
    timed: list[Timed] = at_once([RunStarted("ensure", (MODEL,)), planned([BIG, SMALL]), started(*BIG)])
    timed += [(1 + n / 10, progress(BIG[0], n * 10_000_000, BIG[1])) for n in range(10)]
    timed += [(2.0, committed(*BIG)), (3.0, LockWaiting(MODEL, SMALL[0], "process 4711", 0))]
    timed += [(600.0, started(*SMALL))]
    timed += [(600 + n / 10, progress(SMALL[0], n * 100_000, SMALL[1])) for n in range(10)]
    speed = folded(timed).totals.speed
    assert speed is not None
    assert speed > 10_000_000


def test_a_wait_ends_with_the_next_sign_of_life() -> None:
    wait = LockWaiting(MODEL, BIG[0], "process 4711", 5.0)
    state = folded(at_once([RunStarted("ensure", (MODEL,)), planned([BIG, SMALL]), wait]))
    assert state.waiting == wait
    state.apply(started(*SMALL), 1001)
    assert state.waiting == wait
    state.apply(started(*BIG), 1002)
    assert state.waiting is None


def test_a_locked_model_is_free_with_its_plan_and_the_longest_wait_is_told() -> None:
    waits = [LockWaiting("a", "", "process 1", 5.0), LockWaiting("b", "", "process 2", 9.0)]
    state = folded(at_once([RunStarted("ensure", ("a", "b")), *waits]))
    assert state.waiting == waits[1]
    state.apply(planned([BIG], model="b"), 1001)
    assert state.waiting == waits[0]


def test_quarantine_alone_moves_nothing() -> None:
    bad = FileQuarantined(MODEL, BIG[0], "/q", "a" * 64, "b" * 64, "mirror m.example")
    before = one([started(*BIG), progress(*BIG, BIG[1])])
    after = one([started(*BIG), progress(*BIG, BIG[1]), bad])
    assert (before.phase, before.received) == (after.phase, after.received)


def test_a_check_counts_what_was_hashed_not_what_is_there() -> None:
    kept = FileKept(MODEL, *SMALL)
    plan = planned([BIG, SMALL])
    state = folded(at_once([RunStarted("verify", (MODEL,)), plan, started(*BIG)]))
    assert state.totals.received == 0
    assert state.files[MODEL, BIG[0]].phase == "verifying"
    state.apply(FileVerified(MODEL, *BIG, "0" * 64), 1001)
    state.apply(kept, 1002)
    assert state.totals.percent == 100


def test_a_check_that_repairs_fetches() -> None:
    bad = SourceFailed(MODEL, BIG[0], "cache", "", "hash", "", "", 0, "", "")
    events: list[Event] = [
        RunStarted("verify", (MODEL,)),
        started(*BIG),
        bad,
        started(*BIG),
        progress(BIG[0], 5, BIG[1]),
    ]
    state = folded(at_once(events))
    assert state.files[MODEL, BIG[0]].phase == "fetching"
    state.apply(committed(*BIG), 1001)
    assert state.totals.percent == 100


def test_a_check_without_trouble_completes() -> None:
    assert folded(at_once(check())).totals.percent == 100


def test_results_name_the_fault_of_failed_files_only() -> None:
    events: list[Event] = [
        RunStarted("ensure", (MODEL,)),
        planned([BIG, SMALL]),
        started(*SMALL),
        retry(),
        left(5, ""),
    ]
    results = {result.file: result for result in folded(at_once(events)).results(unfinished="cancelled")}
    assert (results[BIG[0]].status, results[BIG[0]].reason) == ("failed", "not_found")
    assert (results[SMALL[0]].status, results[SMALL[0]].reason) == ("cancelled", "")


def test_a_model_knows_how_long_it_took_and_who_gave_how_many_files() -> None:
    events: list[Event] = [
        RunStarted("ensure", (MODEL,)),
        planned([BIG, SMALL]),
        committed(*BIG),
        committed(*SMALL, "local", ""),
    ]
    model = folded(at_once([*events, *completed([BIG, SMALL], fetched=1)])).models[MODEL]
    assert model.sources == {"huggingface": 1, "local": 1}
    assert model.seconds == pytest.approx(0.3)
    assert model.ready is not None


def test_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="not an event"):
        RunState().apply("progress", 0.0)  # type: ignore[arg-type]
