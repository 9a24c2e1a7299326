"""Which source of a file to ask next, and what to do when one failed.

:class:`Candidates` owns the state of a file's sources. The functions are pure decisions over it:
:func:`choose` names the next source, :func:`decide` says whether one that failed is retried, asked again
after the others, or discarded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.retry import RESET_BYTES, RetryPolicy, wait_for
from modelfetch.sources.base import Offer

if TYPE_CHECKING:
    from modelfetch.engine.hosts import Hosts

MAX_RETRY_WAIT = 5.0
"""Longest wait for a retry of the same source, in seconds, while another source could be asked instead."""
CONNECT_ATTEMPTS = 2
"""Attempts to connect to a host while another source is left. Each may take 10 s, so that a fallback takes
less than half a minute."""

FIRST_BYTE = 5.0
"""Time limit of an IPFS gateway for its first byte, in seconds, while another kind of source is left. A
gateway that does not have the data nearby seldom finds it at all."""

# How an IPFS gateway says that it did not find the data in time. It is not asked a second time.
_GATEWAY_MISS = frozenset({Fault.SERVER, Fault.BUSY, Fault.TIMEOUT})
COSTLY = frozenset({Fault.STALL, Fault.TIMEOUT})
"""Faults that have already cost a whole time limit, so that other sources are asked before a retry."""


@dataclass(slots=True)
class Candidate:
    """A source of one file, and its results so far.

    Changed only by the methods of :class:`Candidates`, under its lock. Any thread may read a field: each is
    one number, and no reader needs two of them to match.
    """

    offer: Offer
    rank: int
    """Position in the order of sources; the smallest is asked first."""
    failures: int = 0
    """Failed attempts since the last reset by :meth:`Candidates.credit`."""
    ready_at: float = 0.0
    """Clock seconds before which it is not asked."""
    good: int = 0
    """Bytes of progress since ``failures`` was 0; see :data:`modelfetch.net.retry.RESET_BYTES`."""

    @property
    def label(self) -> str:
        """The name of the source in journals and receipts: ``kind host``."""
        return f"{self.offer.kind} {self.offer.host}"


class Candidates:
    """The sources of one file that are still in use, and the only owner of their changes. Thread-safe.

    One lock protects the list and every field of its candidates: the first connection counts failures and
    discards sources while parallel connections read the list and credit bytes. No other lock is taken while
    it is held.

    Args:
        offers: In the order in which they are asked.
    """

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._lock = threading.Lock()
        self._remaining = [Candidate(offer, rank) for rank, offer in enumerate(offers)]

    def remaining(self) -> tuple[Candidate, ...]:
        """Return a snapshot of the candidates that were not discarded."""
        with self._lock:
            return tuple(self._remaining)

    def has_kind(self, kind: SourceKind) -> bool:
        """Return whether there is a candidate of a kind that was not discarded."""
        return any(each.offer.kind == kind for each in self.remaining())

    def credit(self, candidate: Candidate, count: int) -> None:
        """Count bytes of progress; enough of them reset the number of failures.

        Args:
            candidate: The source that sent them; it may have been discarded meanwhile.
            count: Bytes that the file never had before.
        """
        with self._lock:
            candidate.good += count
            if candidate.good >= RESET_BYTES:
                candidate.failures = candidate.good = 0

    def forget_progress(self) -> None:
        """Take back the credit of every remaining candidate: the bytes turned out wrong."""
        with self._lock:
            for candidate in self._remaining:
                candidate.good = 0

    def count_failure(self, candidate: Candidate) -> None:
        """Count a failed attempt."""
        with self._lock:
            candidate.failures += 1

    def rest(self, candidate: Candidate, until: float) -> None:
        """Do not ask a candidate before ``until``, in clock seconds."""
        with self._lock:
            candidate.ready_at = until

    def demote(self, candidate: Candidate, until: float) -> None:
        """Ask a candidate after all others, and not before ``until``, in clock seconds."""
        with self._lock:
            candidate.ready_at = until
            candidate.rank += len(self._remaining)

    def discard(self, candidate: Candidate) -> bool:
        """Do not ask a candidate for this file again; returns whether it was not discarded before."""
        with self._lock:
            before = len(self._remaining)
            self._remaining = [each for each in self._remaining if each is not candidate]
            return len(self._remaining) < before


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask the same source again after ``wait`` seconds, before any other."""

    wait: float


@dataclass(frozen=True, slots=True)
class Rotate:
    """Ask another source now. This one may be asked again after ``wait`` seconds, behind all others."""

    wait: float


@dataclass(frozen=True, slots=True)
class Discard:
    """Do not ask this source for this file again."""


Decision = Retry | Rotate | Discard


def report_decision(file: str, source: str, error: SourceError, decision: Decision) -> None:
    """Print what follows a failed attempt, if verbose output was requested.

    Args:
        file: Model and file, for display.
        source: Kind and host of the source.
        error: The failure.
        decision: What was decided.
    """
    if tracing.active is None:
        return
    following = "not asked again for this file"
    if isinstance(decision, Retry):
        following = f"asked again in {decision.wait:.1f} s"
    elif isinstance(decision, Rotate):
        following = f"other sources are asked first, this one not before {decision.wait:.1f} s"
    tracing.active.say(f"retry: {file}: {source}: {error.message}; {following}")


def ready_at(candidate: Candidate, hosts: Hosts) -> float:
    """Return when a source may be asked, in clock seconds: the later of its own time and its host's."""
    return max(candidate.ready_at, hosts.ready_at(candidate.offer.host))


def most_connections(candidate: Candidate) -> int | None:
    """Return how many connections a source gets at most, besides the limit of its host; None for no limit.

    A gateway gets one stream for a file: it limits the requests of each client.
    """
    return 1 if candidate.offer.kind == SourceKind.IPFS else None


def is_taken(candidate: Candidate, hosts: Hosts) -> bool:
    """Whether a source has as many connections as it gets."""
    most = most_connections(candidate)
    return most is not None and hosts.connections(candidate.offer.host) >= most


def choose(candidates: Sequence[Candidate], hosts: Hosts, now: float, file: str = "-") -> Candidate:
    """Return the source to ask next.

    Of the sources that may be asked now it is the first in order, those on demoted hosts last. If none may be
    asked now, it is the one that may be asked soonest.

    Args:
        candidates: At least one.
        hosts: Of the run.
        now: Clock seconds.
        file: Digest of the file: a failure for it does not demote a host, only one for another file does.
    """
    ready = [candidate for candidate in candidates if ready_at(candidate, hosts) <= now]
    if ready:
        return min(
            ready, key=lambda candidate: (hosts.is_demoted(candidate.offer.host, file), candidate.rank)
        )
    return min(candidates, key=lambda candidate: ready_at(candidate, hosts))


def decide(
    candidate: Candidate,
    error: SourceError,
    policy: RetryPolicy,
    *,
    demoted: bool,
    alone: bool,
    rest: float = 0.0,
) -> Decision:
    """Decide what follows a failed attempt, already counted in ``candidate.failures``.

    Args:
        candidate: The source that failed.
        error: How.
        policy: Numbers of attempts and waiting times.
        demoted: Whether its host already failed for another file: other sources are then asked in between.
        alone: Whether no other source is left for this file.
        rest: Seconds for which its host must not be asked, because it asked another file to wait.
    """
    is_over = (
        not _may_pass(error, policy)
        or _is_gateway_miss(candidate, error, alone=alone)
        or candidate.failures >= _attempts(error.fault, policy, demoted=demoted, alone=alone)
    )
    if is_over:
        return Discard()
    wait = max(rest, wait_for(policy, candidate.failures, error.retry_after))
    # While no other source is left, waiting for this one is all that can be done.
    is_better_elsewhere = demoted or wait > MAX_RETRY_WAIT or _costs_time(error)
    return Rotate(wait) if is_better_elsewhere and not alone else Retry(wait)


def _may_pass(error: SourceError, policy: RetryPolicy) -> bool:
    """Whether a retry may succeed, within the longest wait that a server may ask for."""
    return error.retry and (error.retry_after or 0.0) <= policy.retry_after_cap


def _costs_time(error: SourceError) -> bool:
    """Whether the server asked for a wait, or each failure of this kind costs a whole time limit."""
    return error.retry_after is not None or error.fault in COSTLY


def _is_gateway_miss(candidate: Candidate, error: SourceError, *, alone: bool) -> bool:
    """Whether an IPFS gateway answered, in one way or another, that it does not have the file.

    A failure to connect counts only while other sources are left. A gateway that sent data before has the
    file, so its silence is no answer.
    """
    if candidate.offer.kind != SourceKind.IPFS or error.retry_after is not None:
        return False
    is_silent = error.fault is Fault.STALL and not candidate.good
    return is_silent or error.fault in _GATEWAY_MISS or (error.fault is Fault.CONNECT and not alone)


def first_byte_of(candidate: Candidate, candidates: Sequence[Candidate]) -> float | None:
    """Return the time limit for the first byte of a source, in seconds; None for the limit of any stall."""
    is_limited = candidate.offer.kind == SourceKind.IPFS and any(
        each.offer.kind != SourceKind.IPFS for each in candidates
    )
    return FIRST_BYTE if is_limited else None


def _attempts(fault: Fault, policy: RetryPolicy, *, demoted: bool, alone: bool) -> int:
    """Return the number of attempts of a source.

    A demoted host has as many as any other: it may be the only one with the right bytes. Only when it cannot
    be reached, one attempt is enough.
    """
    if alone or fault is not Fault.CONNECT:
        return policy.attempts
    return 1 if demoted else min(policy.attempts, CONNECT_ATTEMPTS)
