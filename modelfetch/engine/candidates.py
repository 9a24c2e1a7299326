"""Which source to ask next, and what to do when one failed: pure decisions over small values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.retry import RetryPolicy, wait_for
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
    """A source for one file, and how it fared so far."""

    offer: Offer
    rank: int
    """Its place in the order of sources; the smallest is asked first."""
    failures: int = 0
    """Failed tries since the last real progress."""
    ready_at: float = 0.0
    """Clock seconds before which it is not asked."""
    good: int = 0
    """Bytes of progress since ``failures`` was 0; 8 MiB of them make it so again."""

    @property
    def label(self) -> str:
        """The name of the source in journals and receipts: ``kind host``."""
        return f"{self.offer.kind} {self.offer.host}"


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
    asked = error.retry_after
    if not error.retry or (asked is not None and asked > policy.retry_after_cap):
        return Leave()
    if candidate.offer.kind == IPFS and asked is None and _has_answered(candidate, error, alone=alone):
        return Leave()
    if candidate.failures >= _attempts(error.fault, policy, demoted=demoted, alone=alone):
        return Leave()
    wait = max(rest, wait_for(policy, candidate.failures, asked))
    if not alone and (demoted or asked is not None or wait > PATIENCE or error.fault in COSTLY):
        return Rotate(wait)
    return Retry(wait)


def _has_answered(candidate: Candidate, error: SourceError, *, alone: bool) -> bool:
    """Whether a volunteer has said all that it is asked for: that it does not have the file."""
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
