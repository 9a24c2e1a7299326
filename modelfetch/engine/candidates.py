"""Which source to ask next, and what to do when one failed: pure decisions over small values."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.retry import RESET_BYTES, RetryPolicy, wait_for
from modelfetch.sources.base import IPFS, Offer

if TYPE_CHECKING:
    from modelfetch.engine.hosts import Hosts

PATIENCE = 5.0
"""Seconds a file waits for the source it has, while another could be asked."""
CONNECT_ATTEMPTS = 2
"""Tries to reach a host while another source is left: 10 s each, so a fall-back takes under half a minute."""

FIRST_BYTE = 5.0
"""Seconds that a volunteer may take to begin while another kind of source is left: what a gateway does not
have nearby it seldom finds at all."""

# What of a volunteer is the one answer it is asked for: "not found in time", said in one way or the other.
_ONE_ANSWER = frozenset({Fault.SERVER, Fault.BUSY, Fault.TIMEOUT})
COSTLY = frozenset({Fault.STALL, Fault.TIMEOUT})
"""Silences: each has already cost its whole time limit, so another source goes first. So it does when a
server asks to be left alone for a while."""


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

    def discard(self, candidate: Candidate) -> None:
        """Do not ask a candidate for this file again."""
        with self._lock:
            self._remaining = [each for each in self._remaining if each is not candidate]


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask the same source again after ``wait`` seconds."""

    wait: float


@dataclass(frozen=True, slots=True)
class Rotate:
    """Ask another source now; this one stays in reserve and may be asked again after ``wait`` seconds."""

    wait: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Do not ask this source for this file again."""


Decision = Retry | Rotate | Leave


def ready_at(candidate: Candidate, hosts: Hosts) -> float:
    """When a source may be asked, in clock seconds: it or its host may have to be waited for."""
    return max(candidate.ready_at, hosts.ready_at(candidate.offer.host))


def choose(candidates: Sequence[Candidate], hosts: Hosts, now: float, file: str = "-") -> Candidate:
    """The next source for a file: the best of those that may be asked now, else the one that may be first."""
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
    """What to do about a failed try, already counted in ``candidate.failures``.

    Args:
        candidate: The source that failed.
        error: How.
        policy: Attempts and waiting times.
        demoted: Whether its host failed for another file already: after each try others have their turn.
        alone: Whether no other source is left for this file.
        rest: Seconds its host must be left alone, because it asked another file for that.
    """
    is_over = (
        not _may_pass(error, policy)
        or _has_answered(candidate, error, alone=alone)
        or candidate.failures >= _attempts(error.fault, policy, demoted=demoted, alone=alone)
    )
    if is_over:
        return Leave()
    wait = max(rest, wait_for(policy, candidate.failures, error.retry_after))
    # While no other source is left, waiting for this one is all that can be done.
    is_better_elsewhere = demoted or wait > PATIENCE or _costs_time(error)
    return Rotate(wait) if is_better_elsewhere and not alone else Retry(wait)


def _may_pass(error: SourceError, policy: RetryPolicy) -> bool:
    """Whether a retry may succeed, within the longest wait that a server may ask for."""
    return error.retry and (error.retry_after or 0.0) <= policy.retry_after_cap


def _costs_time(error: SourceError) -> bool:
    """Whether the server asked for a wait, or each failure of this kind costs a whole time limit."""
    return error.retry_after is not None or error.fault in COSTLY


def _has_answered(candidate: Candidate, error: SourceError, *, alone: bool) -> bool:
    """Whether a volunteer has said all that it is asked for: that it does not have the file."""
    if candidate.offer.kind != IPFS or error.retry_after is not None:
        return False
    is_silent = error.fault is Fault.STALL and not candidate.good
    return is_silent or error.fault in _ONE_ANSWER or (error.fault is Fault.CONNECT and not alone)


def first_byte_of(candidate: Candidate, candidates: Sequence[Candidate]) -> float | None:
    """Seconds that the first byte of a source may take; None for as long as any silence may."""
    is_hurried = candidate.offer.kind == IPFS and any(each.offer.kind != IPFS for each in candidates)
    return FIRST_BYTE if is_hurried else None


def _attempts(fault: Fault, policy: RetryPolicy, *, demoted: bool, alone: bool) -> int:
    """Tries of a source. One whose host failed for another file has as many as any: it may be the honest one.

    Only where its host cannot be reached, one is enough.
    """
    if alone or fault is not Fault.CONNECT:
        return policy.attempts
    return 1 if demoted else min(policy.attempts, CONNECT_ATTEMPTS)
