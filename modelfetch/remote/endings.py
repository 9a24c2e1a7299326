"""From the ends of several jobs to the one end of the command that followed them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from modelfetch.engine.events import ErrorInfo, RunFinished
from modelfetch.engine.ledger import Totals
from modelfetch.model.units import format_size
from modelfetch.remote.jobs import Job, shorten

_GRAVITY: Final = ("disk", "timeout", "lock_timeout", "integrity", "unauthorised", "unavailable", "offline")
"""Error codes as one run ranks the failures of its files; what is not among them is graver."""


def combine(endings: Sequence[RunFinished]) -> RunFinished:
    """The end of a run of which these are the parts: the gravest, with the files of all."""
    worst = min(endings, key=_rank)
    others = sum(ending.outcome == worst.outcome for ending in endings) - 1
    error = worst.error
    if error is not None and others:
        error = replace(error, message=f"{error.message} (and {others} more job{'s' * (others > 1)})")
    files = tuple(file for ending in endings for file in ending.files)
    seconds = max(ending.seconds for ending in endings)
    return RunFinished(worst.outcome, _exit_code(worst), seconds, files, error)


def _exit_code(ending: RunFinished) -> int:
    """What to exit with, whatever a server says: 0 where all went well only, and what an exit code can be.

    A process has eight bits for it (POSIX, `_exit`): 256 would be taken for 0.
    """
    if ending.outcome == "completed" and ending.exit_code == 0:
        return 0
    return ending.exit_code if 0 < ending.exit_code < 256 else 1


def _rank(ending: RunFinished) -> tuple[int, int]:
    """Failed before cancelled before completed; the gravest failure first."""
    code = ending.error.code if ending.error is not None else ""
    gravity = _GRAVITY.index(code) if code in _GRAVITY else -1
    return ("failed", "cancelled", "completed").index(ending.outcome), gravity


def left(
    exit_code: int, endings: Sequence[RunFinished], going_on: Sequence[Job], totals: Totals
) -> RunFinished:
    """The end of a run that was left before all its jobs had ended.

    Args:
        exit_code: What the leaving exits with.
        endings: How those ended that did.
        going_on: The others. Those that are ours were asked to end and did not say that they have.
        totals: How far all of them are.
    """
    files = tuple(file for ending in endings for file in ending.files)
    words = "; ".join([*_cancelled(endings, totals), *_not_over(going_on)])
    return RunFinished("cancelled", exit_code, 0.0, files, ErrorInfo("cancelled", words, _hint(going_on)))


def _cancelled(endings: Sequence[RunFinished], totals: Totals) -> list[str]:
    if all(ending.outcome != "cancelled" for ending in endings):
        return []
    kept = f": {format_size(totals.received)} of {format_size(totals.size)} stay on the server"
    return ["cancelled" + (kept if totals.size else "")]


def _not_over(going_on: Sequence[Job]) -> list[str]:
    return [
        f"{shorten(job.id)} {'was told to end, and has not yet' if job.is_ours else 'goes on on the server'}"
        for job in going_on
    ]


def _hint(going_on: Sequence[Job]) -> str:
    if not going_on:
        return "run the same command again to go on"
    if len(going_on) > 1 or going_on[0].is_ours:
        return "modelfetch jobs shows what became of it"
    return f"modelfetch attach {shorten(going_on[0].id)} follows it again"
