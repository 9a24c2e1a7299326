"""The sentences of the reporters: events and state in, one line of harmless text out.

Everything that came from a server or a manifest passes :func:`~modelfetch.model.text.sanitise` here, so no
reporter has to think of it.

The few signs of the display, with a plain ASCII stand-in for terminals that cannot show them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from typing import TYPE_CHECKING, Final

from modelfetch.errors import Fault
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import is_permissive
from modelfetch.model.text import sanitise
from modelfetch.model.units import format_duration, format_rate, format_size

if TYPE_CHECKING:
    from modelfetch.engine.events import (
        FileQuarantined,
        LockWaiting,
        Planned,
        RetryScheduled,
        RunFinished,
        SourceFailed,
    )
    from modelfetch.engine.state import ModelState, RunState


@dataclass(frozen=True, slots=True)
class Symbols:
    """One set of signs; all but ``arrow`` and ``more`` are one cell wide."""

    done: str
    failed: str
    queued: str
    fetching: str
    verifying: str
    retrying: str
    fallback: str
    arrow: str
    dot: str
    ellipsis: str
    """For what was left out of a name."""
    more: str
    """For what was left out of a list."""
    bar: str
    half: str
    """The left half of ``bar``."""
    rest: str
    """What is missing of a bar; told from ``bar`` without colour, too."""
    spinner: str
    """The pictures of an animation, in turn."""


UNICODE: Final = Symbols(
    done="✓",
    failed="✗",
    queued="·",
    fetching="↓",
    verifying="≈",
    retrying="↻",
    fallback="↪",
    arrow="→",
    dot="·",
    ellipsis="…",
    more="…",
    bar="━",
    half="╸",
    rest="─",
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
)
ASCII: Final = Symbols(
    done="+",
    failed="x",
    queued=".",
    fetching=">",
    verifying="=",
    retrying="~",
    fallback="!",
    arrow="->",
    dot="-",
    ellipsis="~",
    more="...",
    bar="#",
    half="#",
    rest="-",
    spinner="|/-\\",
)


def symbols_for(encoding: str) -> Symbols:
    """Choose the signs that a terminal's encoding has."""
    try:
        "".join(astuple(UNICODE)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def error_lines(finished: RunFinished, symbols: Symbols = UNICODE) -> list[str]:
    """Say why a run did not complete: the last lines of a command, whatever its reporters said.

    Args:
        finished: The end of the run.
        symbols: What the terminal can show.

    Returns:
        Nothing for a completed run; one line for a cancelled one; else ``error: ...`` and, where there is
        one, a line with the hint.
    """
    error = finished.error
    if error is None:
        return []
    if finished.outcome == "cancelled":
        return ["; ".join(filter(None, (sanitise(error.message), sanitise(error.hint))))]
    return failure_lines(error.message, error.hint, symbols)


def failure_lines(message: str, hint: str, symbols: Symbols = UNICODE) -> list[str]:
    """Say what went wrong, and what to do next where that is known."""
    arrow = [f"  {symbols.arrow} {sanitise(hint)}"] if hint else []
    return [f"error: {sanitise(message)}", *arrow]


def place(source: str, host: str) -> str:
    """Name a source: its kind, and its host where it has one."""
    return sanitise(f"{source} {host}").strip()


def subject(state: RunState, model: str, file: str) -> str:
    """Name a file, with its model where the run has several."""
    return sanitise(f"{model}/{file}" if model and len(state.models) > 1 else file)


def plural(n: int, noun: str) -> str:
    """Count something: ``1 file``, ``9 files``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def exact(seconds: float) -> str:
    """Show a duration with the fractions that mean something: ``0.04s``, ``2.1s``, ``1m 32s``."""
    if seconds < 0.095:
        return f"{seconds:.2f}s"
    return f"{seconds:.1f}s" if seconds < 9.95 else format_duration(seconds)


def idle(seconds: float) -> str:
    """Say for how long no byte came, in place of a speed: always in seconds, to fit its column."""
    return f"no data for {seconds:.0f} s"


def plan(event: Planned) -> str:
    """Say what one model consists of and how much of it is missing."""
    missing = [file for file in event.files if file.state != "kept"]
    if not missing:
        return contents(event)
    held = sum(file.held for file in missing)
    resumed = f" ({format_size(held)} kept from an earlier run)" if held else ""
    return f"{contents(event)}; {len(missing)} to fetch, {format_size(event.missing)}{resumed}"


def contents(event: Planned) -> str:
    """Say how much a model is: ``9 files, 295 MB``."""
    return f"{plural(len(event.files), 'file')}, {format_size(event.size)}"


def license_lines(event: Planned) -> list[str]:
    """Show the license of a model before its first download, unless the license is permissive."""
    if not event.missing or (is_permissive(event.license) and not event.license_notice):
        return []
    stated = (
        f"{event.license} (as stated by the publisher" if event.license else "(not stated by the publisher"
    )
    home = f"; {event.homepage}" if event.homepage else ""
    return [sanitise(line) for line in (f"license: {stated}{home})", event.license_notice) if line]


def waiting(event: LockWaiting) -> str:
    """Say who holds a lock, and how far it is where it says so."""
    holder = f"waiting for {sanitise(event.holder) or 'another process'}"
    if not event.size:
        return holder
    percent = min(99, 100 * event.received // event.size)
    return f"{holder}: {percent}% ({format_size(event.received)} / {format_size(event.size)})"


def cause(event: RetryScheduled | SourceFailed) -> str:
    """Say which source failed, and why."""
    return f"{place(event.source, event.host)}: {sanitise(event.reason)}"


def retry(event: RetryScheduled) -> str:
    """Say why and when a source is asked again."""
    when = f"in {exact(event.wait)}" if event.wait >= 0.05 else "now"
    return f"{cause(event)}; attempt {event.attempt} {when}"


def bad(event: SourceFailed) -> str:
    """Say what a check found of one file; what no manifest lists is a notice, and says what can be done."""
    if event.fault == Fault.UNLISTED:
        return sanitise(f"unlisted: {event.reason}")
    return f"bad: {sanitise(event.fault)}"


def quarantined(event: FileQuarantined) -> str:
    """Say what became of bytes in quarantine; those of a file that no manifest lists are not wrong."""
    return "wrong bytes moved to quarantine" if event.expected else "moved to quarantine"


def fallback(event: SourceFailed, symbols: Symbols) -> str:
    """Say why a source is left, and for which one."""
    if not event.next_source:
        return f"{cause(event)}; no source left"
    is_same_kind = event.next_source == event.source
    following = place(event.next_source, event.next_host if is_same_kind else "")
    return f"{cause(event)} {symbols.arrow} {following}"


def ready(model: ModelState, symbols: Symbols) -> str:
    """Say that a model is there, what came in for it, how fast, and from where."""
    assert model.ready is not None, "told of models that are ready only"
    event = model.ready
    parts = [f"{sanitise(model.name)} is ready"]
    if event.fetched:
        of = f" of {format_size(event.size)}" if event.fetched < event.size else ""
        rate = f" ({format_rate(event.fetched / model.seconds)})" if model.seconds > 0 else ""
        parts += [
            f"{format_size(event.fetched)}{of} in {exact(model.seconds)}{rate}",
            _origins(model.sources),
        ]
    elif set(model.sources) - {"cache"}:
        parts += [f"{plural(event.files, 'file')}, {format_size(event.size)}", _origins(model.sources)]
    else:
        parts.append(f"{plural(event.files, 'file')}, {format_size(event.size)}, already present")
    return f" {symbols.dot} ".join(filter(None, parts))


def _origins(sources: Counter[str]) -> str:
    """Name the kinds of sources by how much they gave: ``from huggingface 8 files, local 1``."""
    (kind, files), *others = sources.most_common() or [("", 0)]
    rest = "".join(f", {sanitise(kind)} {files}" for kind, files in others)
    return f"from {sanitise(kind)} {plural(files, 'file')}{rest}" if kind else ""


def verified(state: RunState, finished: RunFinished) -> str:
    """Sum up a check: ``9 files, 295 MB verified in 0.4s``."""
    files = [file for file in finished.files if file.reason != Fault.UNLISTED]
    good = [file for file in files if file.status == "completed"]
    of = "" if len(good) == len(files) else f"{len(good)} of "
    size = format_size(sum(file.size for file in good))
    return f"{of}{plural(len(files), 'file')}, {size} verified in {exact(state.seconds)}"


def standing(state: RunState) -> str:
    """Sum up a run that failed: what is there all the same."""
    totals = state.totals
    complete = f"{totals.files_done} of {plural(totals.files, 'file')} complete"
    return f"{complete}, {format_size(totals.received)} of {format_size(totals.size)} kept"
