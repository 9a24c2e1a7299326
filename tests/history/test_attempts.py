"""Attempts from a script of events: each has its own clock, ends once and has the right fault."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from modelfetch.engine.events import (
    FileCommitted,
    FileKept,
    FileQuarantined,
    FileVerified,
    LockWaiting,
    Progress,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.history import AttemptRow
from modelfetch.reporters.attempts import Attempts
from tests.scripted import MODEL, START, Timed, committed, planned, progress, stamped, started

SIZE = 1_000_000
BEGIN: list[Timed] = [(0.0, RunStarted("ensure", (MODEL,))), (0.0, planned([("a", SIZE), ("b", SIZE)]))]


def fold(*timed: Timed, begin: Iterable[Timed] = BEGIN) -> list[AttemptRow]:
    """Return the attempts of a script of events."""
    attempts = Attempts()
    rows = [row for record in stamped([*begin, *timed]) for row in attempts.add(record)]
    return [replace(row, first_byte=_ms(row.first_byte), seconds=round(row.seconds, 3)) for row in rows]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def retry(
    fault: str = "cut", attempt: int = 2, source: str = "mirror", host: str = "m.example"
) -> RetryScheduled:
    return RetryScheduled(MODEL, "a", source, host, attempt, fault, f"it was {fault}", 0.5)


def failed(
    fault: str, following: str = "huggingface", source: str = "mirror", host: str = "m.example"
) -> SourceFailed:
    return SourceFailed(MODEL, "a", source, host, fault, f"it was {fault}", "", 0, following, "hf.example")


def mirror(received: int, attempt: int = 1, file: str = "a") -> Progress:
    return progress(file, received, SIZE, "mirror", "m.example", attempt)


def verified(file: str = "a") -> FileVerified:
    return FileVerified(MODEL, file, SIZE, "0" * 64)


def test_a_file_that_comes_at_once() -> None:
    [row] = fold(
        (1.0, started("a", SIZE)),
        (1.0, mirror(0)),
        (1.2, mirror(65_536)),
        (1.8, mirror(SIZE)),
        (2.0, verified()),
        (2.1, committed("a", SIZE, "mirror", "m.example")),
    )
    assert row == AttemptRow(
        run="r1",
        model=MODEL,
        file="a",
        source="mirror",
        host="m.example",
        attempt=1,
        started_at=START + timedelta(seconds=1),
        first_byte=0.2,
        seconds=1.0,
        resumed=0,
        received=SIZE,
        size=SIZE,
        outcome="success",
        fault="",
        message="",
    )


def test_every_attempt_has_its_own_clock() -> None:
    """Not one from the first on: the third answers in 0.1 s, ten seconds after the first began."""
    rows = fold(
        (0.0, mirror(0)),
        (4.0, retry("timeout")),
        (4.5, mirror(0, 2)),
        (4.7, mirror(1000, 2)),
        (9.0, retry("stall", 3)),
        (10.0, mirror(1000, 3)),
        (10.1, mirror(2000, 3)),
        (11.0, mirror(SIZE, 3)),
        (11.0, verified()),
    )
    assert [(row.attempt, row.outcome, row.fault) for row in rows] == [
        (1, "error", "timeout"),
        (2, "error", "stall"),
        (3, "success", ""),
    ]
    assert [row.first_byte for row in rows] == [None, 0.2, 0.1]
    assert [row.seconds for row in rows] == [4.0, 4.5, 1.0]
    assert [(row.resumed, row.received) for row in rows] == [(0, 0), (0, 1000), (1000, SIZE - 1000)]


def test_what_was_there_before_is_resumed_and_not_received() -> None:
    [row] = fold((0.0, mirror(400_000)), (0.1, mirror(400_000)), (0.5, mirror(SIZE)), (0.5, verified()))
    assert (row.resumed, row.received, row.first_byte) == (400_000, 600_000, 0.5)


def test_a_file_restarted_from_zero_counts_all_its_bytes() -> None:
    [row] = fold((0.0, mirror(400_000)), (0.3, mirror(10)), (0.5, mirror(SIZE)), (0.5, verified()))
    assert (row.resumed, row.received, row.first_byte) == (0, SIZE, 0.3)


def test_a_falling_number_of_tries_is_the_same_attempt() -> None:
    """After 8 MiB of good bytes the count starts over, in the middle of an answer."""
    rows = fold((0.0, mirror(0, 3)), (0.5, mirror(500, 1)), (1.0, mirror(SIZE, 1)), (1.0, verified()))
    assert [(row.attempt, row.received) for row in rows] == [(3, SIZE)]


def test_falling_back_ends_one_attempt_and_begins_another() -> None:
    rows = fold(
        (0.0, mirror(0)),
        (1.0, mirror(300_000)),
        (2.0, failed("server")),
        (2.5, progress("a", 300_000, SIZE)),
        (3.0, progress("a", SIZE, SIZE)),
        (3.0, verified()),
    )
    assert [(row.source, row.host, row.outcome, row.message) for row in rows] == [
        ("mirror", "m.example", "error", "it was server"),
        ("huggingface", "hf.example", "success", ""),
    ]
    assert rows[1].started_at == START + timedelta(seconds=2.5)


def test_a_source_that_sent_wrong_bytes_is_blamed() -> None:
    [row] = fold(
        (0.0, mirror(0)),
        (1.0, mirror(SIZE)),
        (1.1, FileQuarantined(MODEL, "a", "/q", "0" * 64, "1" * 64, "mirror m.example")),
        (1.1, failed("hash")),
    )
    assert (row.outcome, row.fault, row.received) == ("error", "hash", SIZE)


def test_a_wrong_chunk_over_a_parallel_connection_is_blamed_on_its_host() -> None:
    """The first connection, to another host, goes on meanwhile."""
    liar, honest = fold(
        (0.0, mirror(0)),
        (0.5, mirror(SIZE // 2)),
        (0.6, failed("hash", "mirror", "url", "liar.example")),
        (1.0, mirror(SIZE)),
        (1.1, verified()),
    )
    assert (liar.source, liar.host, liar.outcome, liar.fault) == ("url", "liar.example", "error", "hash")
    assert liar.message == "it was hash"
    assert (honest.host, honest.outcome, honest.seconds) == ("m.example", "success", 1.1)


def test_no_source_is_blamed_for_wrong_data_of_several_sources() -> None:
    both = "huggingface hf.example + mirror m.example"
    rows = fold(
        (0.0, mirror(0)),
        (1.0, mirror(500_000)),
        (1.0, failed("cut")),
        (1.0, progress("a", 500_000, SIZE)),
        (2.0, progress("a", SIZE, SIZE)),
        (2.0, FileQuarantined(MODEL, "a", "/q", "0" * 64, "1" * 64, both)),
        (2.0, retry("hash", 1, "huggingface", "hf.example")),
        (2.0, progress("a", 0, SIZE)),
        (3.0, progress("a", SIZE, SIZE)),
        (3.0, verified()),
    )
    assert [(row.source, row.outcome, row.fault) for row in rows] == [
        ("mirror", "error", "cut"),
        ("huggingface", "cancelled", "hash"),
        ("huggingface", "success", ""),
    ]


def test_a_host_known_to_be_down_is_skipped_and_has_no_attempt() -> None:
    assert fold((0.0, started("a", SIZE)), (0.0, failed("connect"))) == []


def test_a_file_without_a_source_left_has_a_row_of_its_own() -> None:
    rows = fold((0.0, mirror(0)), (1.0, failed("not_found", following="")))
    assert [(row.source, row.host, row.outcome, row.fault) for row in rows] == [
        ("mirror", "m.example", "error", "not_found"),
        ("", "", "error", "all_layers_exhausted"),
    ]
    assert (rows[1].size, rows[1].received, rows[1].message) == (SIZE, 0, "no source was left")


def test_what_the_end_of_the_run_cuts_short_is_cancelled() -> None:
    rows = fold((0.0, mirror(0)), (0.2, mirror(0, file="b")), (0.5, mirror(10)))
    assert [(row.file, row.outcome, row.received) for row in rows] == [
        ("a", "cancelled", 10),
        ("b", "cancelled", 0),
    ]
    assert [row.seconds for row in rows] == [0.5, 0.3]


def test_files_at_the_same_time_do_not_mix() -> None:
    rows = fold(
        (0.0, mirror(0)),
        (0.1, mirror(0, file="b")),
        (0.5, mirror(10, file="b")),
        (0.6, mirror(10)),
        (0.7, verified("b")),
        (0.8, verified()),
    )
    assert [row.file for row in rows] == ["b", "a"]
    assert [row.first_byte for row in rows] == [0.4, 0.6]


def test_kept_files_and_those_found_in_the_cache_are_hits() -> None:
    rows = fold(
        (0.0, FileKept(MODEL, "a", SIZE)),
        (0.1, started("b", SIZE, SIZE)),
        (0.2, progress("b", 500, SIZE, "cache", "")),
        (0.3, verified("b")),
        (0.4, FileCommitted(MODEL, "b", "/b", SIZE, "0" * 64, "cache", "", 0, 0.3)),
    )
    assert [(row.file, row.source, row.host, row.outcome, row.received, row.size) for row in rows] == [
        ("a", "cache", "", "hit", 0, SIZE),
        ("b", "cache", "", "hit", 0, SIZE),
    ]


def test_a_bad_copy_in_the_cache_is_no_attempt_and_no_hit() -> None:
    rows = fold(
        (0.0, progress("a", SIZE, SIZE, "cache", "")),
        (0.5, mirror(0)),
        (1.0, mirror(SIZE)),
        (1.0, verified()),
        (1.0, committed("a", SIZE, "mirror", "m.example")),
    )
    assert [(row.source, row.outcome, row.seconds) for row in rows] == [("mirror", "success", 0.5)]


def test_verification_makes_no_attempts() -> None:
    begin: list[Timed] = [(0.0, RunStarted("verify", (MODEL,))), *BEGIN[1:]]
    rows = fold(
        (0.0, FileKept(MODEL, "b", SIZE)),
        (0.0, progress("a", 10, SIZE, "cache", "")),
        (0.1, failed("hash", "", "cache", "")),
        begin=begin,
    )
    assert rows == []


def test_repair_makes_attempts() -> None:
    begin: list[Timed] = [(0.0, RunStarted("verify", (MODEL,))), *BEGIN[1:]]
    rows = fold((0.0, mirror(0)), (1.0, mirror(SIZE)), (1.0, verified()), begin=begin)
    assert [row.outcome for row in rows] == ["success"]


def test_waiting_for_a_lock_is_no_attempt() -> None:
    end = RunFinished("completed", 0, 1.0, (), None)
    assert fold((0.0, LockWaiting(MODEL, "a", "somebody", 0.0)), (1.0, end)) == []


def test_a_file_of_a_batch_is_one_attempt_that_ends_with_its_commit() -> None:
    [row] = fold(
        (2.0, started("a", SIZE)),
        (2.0, verified()),
        (2.5, replace(committed("a", SIZE, "mirror", "m.example"), fetched=SIZE, seconds=1.5)),
    )
    assert (row.source, row.host, row.outcome, row.attempt) == ("mirror", "m.example", "success", 1)
    assert (row.received, row.size, row.seconds, row.first_byte) == (SIZE, SIZE, 1.5, None)
    assert row.started_at == START + timedelta(seconds=1.0)


def test_a_slow_file_of_a_batch_is_one_attempt_with_all_its_bytes() -> None:
    commit = replace(committed("a", SIZE, "mirror", "m.example"), fetched=SIZE, seconds=9.0)
    [row] = fold(
        (2.0, started("a", SIZE)), (2.0, mirror(0)), (5.0, mirror(100)), (9.0, verified()), (9.0, commit)
    )
    assert (row.outcome, row.attempt, row.resumed, row.received) == ("success", 1, 0, SIZE)


def test_progress_without_a_request_is_no_attempt() -> None:
    """Before the first one, before a retry, when a batch gave a file up, and after the last byte."""
    rows = fold(
        (1.0, started("a", SIZE)),
        (3.0, progress("a", 0, SIZE, "", "", 0)),
        (4.0, mirror(0)),
        (5.0, mirror(0, attempt=0)),
        (6.0, mirror(0)),
        (7.0, retry("cut")),
        (9.0, mirror(0, attempt=0)),
        (11.0, mirror(SIZE, attempt=2)),
        (12.0, verified()),
        (14.0, progress("a", SIZE, SIZE, "", "", 0)),
        (15.0, committed("a", SIZE, "mirror", "m.example")),
    )
    assert [(row.outcome, row.attempt, row.seconds) for row in rows] == [
        ("cancelled", 1, 1.0),
        ("error", 1, 1.0),
        ("success", 2, 1.0),
    ]


def test_bytes_shared_with_another_model_are_no_second_attempt() -> None:
    commit = replace(committed("a", SIZE, "mirror", "m.example"), fetched=SIZE, seconds=1.0)
    rows = fold((2.0, commit), (2.0, replace(commit, file="b", fetched=0)))
    assert [row.file for row in rows] == ["a"]
