"""Getting one file: from any source, switching in the middle, until its bytes are the pinned ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from modelfetch.engine.candidates import (
    Candidate,
    Decision,
    Leave,
    Retry,
    Rotate,
    choose,
    decide,
    ready_at,
)
from modelfetch.engine.events import (
    Event,
    FileQuarantined,
    FileVerified,
    Progress,
    RetryScheduled,
    SourceFailed,
)
from modelfetch.engine.rate import Ticker
from modelfetch.engine.runtime import Runtime
from modelfetch.errors import Fault, ModelfetchError, SourceError
from modelfetch.model.manifest import FileSpec
from modelfetch.net.retry import RESET_BYTES
from modelfetch.sources.base import LOCAL, Offer, Stream
from modelfetch.store import Partial

_WRONG = "sent wrong bytes: the SHA-256 does not match"
_MIXED = "bytes from several sources do not fit together; once more from the start"
_IMPOSSIBLE = "no bytes cannot have this SHA-256"


class Exhausted(ModelfetchError):  # noqa: N818 - the state of the sources, made an error by its caller
    """Every source of one file failed.

    Attributes:
        failures: The last failure of each source, in the order in which they were given up.
    """

    def __init__(self, failures: list[tuple[str, SourceError]]) -> None:
        super().__init__("; ".join(f"{label}: {error.message}" for label, error in failures))
        self.failures = failures


@dataclass
class Transfer:
    """The state of getting one file's bytes into its partial.

    The rules it follows, in words: the good prefix is never thrown away for a failure to deliver; a source is
    retried only for faults that may pass; a wrong hash is never retried at a source that supplied every byte.
    """

    runtime: Runtime
    model: str
    file: FileSpec
    partial: Partial
    candidates: list[Candidate]
    fetched: int = 0
    """Bytes that came over the network, good or not."""
    failures: list[tuple[str, SourceError]] = field(default_factory=list)
    """Why each source was left, in that order."""
    last: Candidate | None = None
    """The source of the latest bytes."""
    _holding: Candidate | None = None
    """The source to go on with while it is merely waited for."""
    _suppliers: set[str] = field(default_factory=set)
    """Who supplied the prefix, including earlier runs."""
    _pure: bool = False
    """Whether each source must now supply the file by itself, because a mixture turned out wrong."""

    def __post_init__(self) -> None:
        self._suppliers = {f"{origin} (earlier)" for origin in self.partial.origins}

    def run(self) -> Iterator[Event]:
        """Fill the partial with the pinned bytes.

        Raises:
            Exhausted: No source could.
            StoreError: The disk refused.
            Cancelled: The run was cancelled; the good prefix stays.
        """
        while not (self._complete and self._right):
            if self._complete:
                yield from self._reject()
                continue
            candidate = self._next()
            self.runtime.cancel.sleep(self._wait(candidate))
            try:
                yield from self._receive(candidate)
            except SourceError as error:
                yield from self._failed(candidate, error)
        yield FileVerified(self.model, self.file.path, self.file.size, self.file.sha256)

    @property
    def _complete(self) -> bool:
        return self.partial.length == self.file.size

    @property
    def _right(self) -> bool:
        return self.partial.digest() == self.file.sha256

    def _next(self) -> Candidate:
        if self._holding is not None:
            return self._holding
        if not self.candidates:
            raise Exhausted(self.failures)
        return choose(self.candidates, self.runtime.hosts, self.runtime.clock())

    def _wait(self, candidate: Candidate) -> float:
        return ready_at(candidate, self.runtime.hosts) - self.runtime.clock()

    def _receive(self, candidate: Candidate) -> Iterator[Event]:
        """Take what one answer of one source gives."""
        down = self.runtime.hosts.down(candidate.offer.host)
        if down is not None and not candidate.failures:
            raise down
        before = 0 if self._is_foreign_to(candidate) else self.partial.length
        yield self._progress(candidate)  # the attempt begins: from here on its first byte is waited for
        stream = candidate.offer.open(before)
        try:
            self._begin(candidate, before)
            yield from self._copy(candidate, stream)
        finally:
            stream.close()
        if not self._complete and self.partial.length - before < RESET_BYTES:
            raise SourceError(Fault.CUT, f"ended {self.file.size - self.partial.length} bytes too early")
        self.runtime.hosts.welcome(candidate.offer.host)

    def _is_foreign_to(self, candidate: Candidate) -> bool:
        """Whether the prefix is of no use to this source, which must supply every byte by itself."""
        return self._pure and bool(self._suppliers - {candidate.label})

    def _begin(self, candidate: Candidate, offset: int) -> None:
        """Prepare for the answer of a source that may not have been the one before."""
        if offset < self.partial.length:
            self.partial.restart()
            self._suppliers.clear()
        if self.last is not candidate:  # what others supplied is no progress of its own
            candidate.good_at = max(candidate.good_at, offset)

    def _copy(self, candidate: Candidate, stream: Stream) -> Iterator[Event]:
        ticker = Ticker(self.runtime.clock)
        skip = self.partial.length - stream.start  # the server sends whole files only
        for piece in stream:
            self.runtime.cancel.check()  # not every source is woken by it
            if candidate.offer.kind != LOCAL:
                self.runtime.rate.take(len(piece))
                self.fetched += len(piece)
            new, skip = piece[skip:], max(0, skip - len(piece))
            if new:
                self._keep(candidate, new)
            if ticker.due():
                yield self._progress(candidate)
        yield self._progress(candidate)

    def _keep(self, candidate: Candidate, piece: bytes | memoryview) -> None:
        if len(piece) > self.file.size - self.partial.length:
            raise SourceError(Fault.SIZE, f"sent more than the {self.file.size} bytes expected")
        self.partial.write(piece, candidate.label)
        self._suppliers.add(candidate.label)
        self.last = candidate
        if self.partial.length - candidate.good_at >= RESET_BYTES:
            candidate.failures, candidate.good_at = 0, self.partial.length

    def _progress(self, candidate: Candidate) -> Progress:
        offer = candidate.offer
        return Progress(
            self.model,
            self.file.path,
            offer.kind,
            offer.host,
            candidate.failures + 1,
            self.partial.length,
            self.file.size,
        )

    def _failed(self, candidate: Candidate, error: SourceError) -> Iterator[Event]:
        """Account for a failed try and tell what comes next."""
        candidate.failures += 1
        self._holding = None
        hosts, host = self.runtime.hosts, candidate.offer.host
        decision = decide(
            candidate,
            error,
            self.runtime.retry,
            demoted=hosts.is_demoted(host),
            alone=len(self.candidates) == 1,
            rest=self._wait(candidate),
        )
        if error.retry_after is not None and not isinstance(decision, Leave):
            hosts.park(host, decision.wait)
        yield self._apply(candidate, error, decision)

    def _apply(self, candidate: Candidate, error: SourceError, decision: Decision) -> Event:
        now = self.runtime.clock()
        match decision:
            case Retry(wait):
                candidate.ready_at = now + wait
                self._holding = candidate
                return self._retry(candidate, error, wait)
            case Rotate(wait):
                candidate.ready_at = now + wait
                candidate.rank += len(self.candidates)
            case Leave():
                self.candidates.remove(candidate)
                self.failures.append((candidate.label, error))
                if candidate.offer.kind != LOCAL:  # one bad file says nothing about its directory
                    self.runtime.hosts.give_up(candidate.offer.host, error)
        return self._source_failed(candidate, error)

    def _retry(self, candidate: Candidate, error: SourceError, wait: float) -> RetryScheduled:
        offer = candidate.offer
        return RetryScheduled(
            self.model,
            self.file.path,
            offer.kind,
            offer.host,
            candidate.failures + 1,
            error.fault,
            error.message,
            wait,
        )

    def _source_failed(self, candidate: Candidate, error: SourceError) -> SourceFailed:
        offer = candidate.offer
        following = self._next().offer if self.candidates else None
        return SourceFailed(
            self.model,
            self.file.path,
            offer.kind,
            offer.host,
            error.fault,
            error.message,
            error.hint,
            self.partial.length,
            following.kind if following else "",
            following.host if following else "",
        )

    def _reject(self) -> Iterator[Event]:
        """The file is complete and wrong: put the bytes aside, blame the source if it alone is to blame."""
        if not self.file.size:
            raise Exhausted([("manifest", SourceError(Fault.HASH, _IMPOSSIBLE))])
        candidate = self.last
        alone = candidate is not None and self._suppliers == {candidate.label}
        yield self._quarantine()
        if candidate is None:
            return  # an earlier run left wrong bytes: nobody here is to blame
        if alone:
            yield from self._failed(candidate, SourceError(Fault.HASH, _WRONG))
        else:
            self._pure = True
            self._holding = candidate
            yield self._retry(candidate, SourceError(Fault.HASH, _MIXED), 0.0)

    def _quarantine(self) -> FileQuarantined:
        """Put all bytes aside and begin again without any."""
        file, actual, source = self.file, self.partial.digest(), " + ".join(sorted(self._suppliers))
        kept = self.runtime.store.quarantine_partial(self.partial, actual=actual, source=source)
        self._suppliers.clear()
        for candidate in self.candidates:
            candidate.good_at = 0
        return FileQuarantined(self.model, file.path, str(kept), file.sha256, actual, source)


def candidates_for(offers: list[Offer]) -> list[Candidate]:
    """Offers in the order in which they should be asked."""
    return [Candidate(offer, rank) for rank, offer in enumerate(offers)]
