"""Asks the peers who has a file, before it is fetched, and waits for a machine that is fetching it.

Machines that start at the same time must not all read the origin. The rules, for each file:

1. A run takes the lock of the file first, with the note that it asks, which its own server reports to others.
   Then it asks all peers. So of two runs that ask, at least one sees the other.
2. A peer that has the file is used. One that does not have it is not asked again once another one has begun
   to fetch it.
3. A run waits for a peer that has begun to fetch the file. It also waits for one that is asking too, if that
   one leads: a rank that follows from the digest and the names of both caches
   (:func:`modelfetch.sources.peer.leads`). Otherwise it notes that it begins.
4. After it has begun, it asks once more. If another one has begun, too, it takes that back, and waits for it.
5. It waits as long as a peer makes progress: fetches the file, and then hashes it. A peer that makes none for
   :data:`PATIENCE` seconds, or ends without the file, is not waited for again in this run. Nor is one after
   as many seconds of waits for files that then came from elsewhere; what it delivers makes up for them
   (:meth:`modelfetch.engine.hosts.Hosts.note_file`). Else it could give way, or refuse what it says it has,
   again and again, each time a moment before the patience is over.
6. Meanwhile it fetches what the peer has, as it comes, if the chunks of the file are proven here, so that
   each can be checked. Otherwise nobody could say who sent a wrong byte, and it waits for the whole file.

So of two runs that see each other only one goes on: each notes that it begins before it asks for the last
time, so the one that does so later sees the note of the other. Both may see it. Then both take theirs back,
and rule 3 decides when they have asked again. Which of them began earlier does not count: an answer says what
was so when it was given, and under load that is longer ago than the runs began apart.

A peer that has begun does not wait, and among those that ask the rank is a total order, so no two runs wait
for each other. Where what they know is out of date they do, until the next answer. All this holds between
machines whose answers arrive: one that does not answer in time counts as gone, and one that makes no progress
for :data:`PATIENCE` seconds is left, whatever keeps it. Example, for two machines that start at once::

    A: lock, ask B: "asking", B leads          -> ask B again, which answers when it has the file
    B: lock, ask A: "asking", B leads          -> begin; ask A again: "asking"  -> fetch from the origin
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from modelfetch import tracing
from modelfetch.cancel import Cancelled
from modelfetch.engine.candidates import choose
from modelfetch.engine.events import Event, LockWaiting
from modelfetch.engine.failures import source_failed
from modelfetch.engine.locking import PROGRESS_SECONDS, REPORT_SECONDS
from modelfetch.engine.sink import Connection
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import SourceKind
from modelfetch.sources.peer import Askable, PeerAnswer
from modelfetch.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from modelfetch.engine.candidates import Candidate, Candidates
    from modelfetch.engine.file_chunks import FileChunks
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.sink import Sink
    from modelfetch.model.manifest import FileSpec

PATIENCE: Final = 10.0
"""Seconds without progress after which a peer is not waited for. One that has just begun needs some of them
for its own first byte; and less than :data:`STEP` bytes in that time are too slow to wait for."""
STEP: Final = 1024 * 1024
"""Bytes that count as progress."""
HELD_SECONDS: Final = 2.0
"""Seconds for which a peer is asked to hold its answer back, until it has the file."""
PAUSE_SECONDS: Final = 0.2
"""Least seconds between two questions to a peer that does not hold its answers back."""
THREAD_NAME: Final = "modelfetch-peer"

Failed = list[tuple["Candidate", SourceError]]
"""Sources that do not have the file, and why."""


@dataclass(slots=True)
class AskedPeer:
    """A peer that may have the file, and what it answered."""

    candidate: Candidate
    answer: PeerAnswer = PeerAnswer("lacks")
    error: SourceError | None = None
    """Why there was no answer."""
    has_begun: bool = False
    """Whether it was seen to have begun to fetch the file, and not only to ask others."""
    moved: int | None = None
    """Bytes that it had at its last progress; None before it was seen to fetch the file."""
    moved_at: float = 0.0
    """Clock seconds of its last progress."""
    has_fallen: bool = False
    """Whether it was seen to have fewer bytes than before: those that it has hashed of a complete file."""
    waited: tuple[float, float] | None = None
    """Clock seconds of the first and the last moment at which it was waited for."""
    sends_parts: bool = True
    """Whether it has not failed to send what it said is there of a file that it is fetching."""

    def note(self, answer: PeerAnswer, now: float) -> None:
        """Note an answer."""
        self.answer, self.error = answer, None
        if answer.state != "fetching":
            return
        # To begin is progress too, and to begin to hash what was fetched; but each of them once only.
        has_begun = answer.begun is not None and not self.has_begun
        has_fallen = self.moved is not None and answer.received < self.moved and not self.has_fallen
        if has_begun or has_fallen or self.moved is None or answer.received >= self.moved + STEP:
            self.moved, self.moved_at = answer.received, now
        self.has_begun = self.has_begun or has_begun
        self.has_fallen = self.has_fallen or has_fallen

    def is_waited_for(self, now: float) -> bool:
        """Whether rules 3 and 5 allow to wait for it."""
        is_allowed = self.answer.begun is not None or self.answer.leads
        return self.answer.state == "fetching" and is_allowed and not self.stands_still(now)

    def stands_still(self, now: float) -> bool:
        """Whether it is fetching the file without progress."""
        return self.answer.state == "fetching" and now - self.moved_at >= PATIENCE


def choose_leader(asked: Sequence[AskedPeer], now: float) -> AskedPeer | None:
    """Return the peer to wait for; None if there is none. One that has begun comes first, then by bytes."""
    allowed = [each for each in asked if each.is_waited_for(now)]
    return max(allowed, key=lambda each: (each.answer.begun is not None, each.answer.received), default=None)


def has_another_begun(asked: Sequence[AskedPeer], now: float) -> bool:
    """Return whether a peer that may be waited for has begun to fetch the file, too (rule 4)."""
    return any(each.is_waited_for(now) and each.answer.begun is not None for each in asked)


class WantedFile(Protocol):
    """The file that peers are asked about: what :class:`modelfetch.engine.transfer.Transfer` knows of it."""

    runtime: Runtime
    model: str
    """Name of the model, for events."""
    file: FileSpec
    candidates: Candidates
    """Its sources."""
    sink: Sink
    """Writes its bytes."""
    chunks: FileChunks
    """What is known about its chunks."""

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there."""

    def receive(self, connection: Connection) -> Iterator[Event]:
        """Receive the segment of a connection."""

    @property
    def note_begun(self) -> Callable[[bool], None]:
        """Reports to other machines whether this run has begun to fetch the file."""


def settle(wanted: WantedFile) -> Generator[Event, None, Failed]:
    """Leave only those peers among the sources of a file that have it, after a wait where that is worth it.

    Peers that do not have the file are removed from the candidates. Those that are fetching it, and are not
    waited for, are asked after all other sources.

    Args:
        wanted: The file.

    Returns:
        The peers that were removed. Those that do not have the file are no failures to report.

    Raises:
        Cancelled: The run was cancelled.
        DeadlineError: The time limit of the run was reached.
    """
    peers = [each for each in wanted.candidates.remaining() if each.offer.kind == SourceKind.PEER]
    asked = [AskedPeer(each) for each in peers if isinstance(each.offer, Askable)]
    if asked:
        hosts = wanted.runtime.hosts
        _leave([each for each in asked if hosts.in_vain(each.candidate.offer.host) >= PATIENCE])
        yield from _Negotiation(wanted, asked).events()
        waits = {each.candidate.offer.host: each.waited for each in asked if each.waited is not None}
        hosts.note_waits(wanted.file.sha256, waits)
    wanted.note_begun(True)
    failed = _sort_out(asked, wanted.file.path, wanted.candidates, wanted.runtime.clock())
    for candidate, error in failed:
        if error.fault is Fault.HASH:  # now, when it is known which source follows
            yield _source_failed(wanted, candidate, error)
    return failed


def _source_failed(wanted: WantedFile, candidate: Candidate, error: SourceError) -> Event:
    runtime, remaining = wanted.runtime, wanted.candidates.remaining()
    following = choose(remaining, runtime.hosts, runtime.clock(), wanted.file.sha256) if remaining else None
    return source_failed(wanted.model, wanted.file, candidate, error, wanted.sink.received, following)


class _Negotiation:
    """Asks all peers about one file, until it is known which machine fetches it."""

    def __init__(self, wanted: WantedFile, asked: Sequence[AskedPeer]) -> None:
        self._wanted = wanted
        self._runtime = wanted.runtime
        self._model = wanted.model
        self._file = wanted.file
        self._note_begun = wanted.note_begun
        self._asked = asked
        self._began = self._runtime.clock()
        self._reported_at = float("-inf")
        self._received = -1
        """Bytes of the peer in the last event."""

    def events(self) -> Iterator[Event]:
        """Ask, and wait; yields the waits, and the progress of what is fetched meanwhile."""
        self._ask(self._asked)
        while not (self._is_found or self._wanted.is_complete):
            leader = choose_leader(self._asked, self._runtime.clock())
            if leader is not None:
                yield from self._wait(leader)
            elif self._may_begin():
                return

    @property
    def _is_found(self) -> bool:
        return any(each.answer.state == "has" for each in self._asked)

    def _may_begin(self) -> bool:
        """Begin, unless a peer turns out to have begun, too."""
        self._note_begun(True)
        self._ask([each for each in self._asked if each.error is None])
        now = self._runtime.clock()
        if self._is_found or not has_another_begun(self._asked, now):
            # Also one that began and took it back again and again: it could do so for each file of a model.
            _leave([each for each in self._asked if each.has_begun and each.stands_still(now)])
            return True
        self._note_begun(False)
        return False

    def _wait(self, leader: AskedPeer) -> Iterator[Event]:
        """Fetch what a peer has already; then ask it, as it holds its answer back, and then the others."""
        runtime = self._runtime
        yield from self._report(leader)
        if leader.sends_parts and self._wanted.chunks.is_proven:
            yield from self._fetch_parts(leader)
            if self._wanted.is_complete or leader.answer.state != "fetching":
                return
        runtime.check_deadline(
            f"{self._model}: {self._file.path}, which {leader.candidate.label} is fetching"
        )
        sent = runtime.clock()
        _ask_one(runtime, leader, HELD_SECONDS)
        runtime.cancel.sleep(max(0.0, PAUSE_SECONDS - (runtime.clock() - sent)))
        leader.waited = (sent if leader.waited is None else leader.waited[0]), runtime.clock()
        # One that ends without the file was waited for in vain, too; not one that gives way to this run.
        if leader.answer.state == "lacks" or leader.stands_still(runtime.clock()):
            _leave([leader])
        self._ask([each for each in self._asked if each is not leader and self._is_asked_again(each, leader)])

    def _is_asked_again(self, other: AskedPeer, leader: AskedPeer) -> bool:
        # One that only asks may wait itself, without any progress, for one that had not started when it was
        # asked here.
        is_settled = leader.answer.begun is not None
        return other.error is None and (other.answer.state == "fetching" or not is_settled)

    def _fetch_parts(self, leader: AskedPeer) -> Iterator[Event]:
        """Fetch the chunks that a peer has, as far as they are missing here.

        A part of a chunk could not be checked. Nor are the bytes progress of the peer, whose own fetch may
        stand still: the next answer tells.
        """
        candidate, chunks = leader.candidate, self._wanted.chunks
        try:
            for start, end in leader.answer.available:
                yield from self._fetch(candidate, *chunks.whole(start, end))
        except SourceError as error:
            leader.sends_parts = False  # what it has once it is complete is another matter
            if error.fault is Fault.HASH:
                leader.answer, leader.error = PeerAnswer("lacks"), error
                self._runtime.hosts.record_failure(candidate.offer.host, error, self._file.sha256)

    def _fetch(self, candidate: Candidate, start: int, end: int) -> Iterator[Event]:
        """Fetch those bytes of a range that are missing.

        Raises:
            SourceError: The peer failed.
        """
        segments = self._wanted.sink.segments
        connections = [Connection(candidate, each) for each in segments.claim_within(start, end)]
        try:
            for connection in connections:
                if connection.segment.left:  # else an answer to another one brought its bytes
                    yield from self._wanted.receive(connection)
        finally:
            for connection in connections:
                segments.release(connection.segment)

    def _report(self, leader: AskedPeer) -> Iterator[LockWaiting]:
        """Yield an event: every second while the peer makes progress, else every five."""
        now, received = self._runtime.clock(), leader.answer.received
        silence = PROGRESS_SECONDS if received != self._received else REPORT_SECONDS
        if now - self._reported_at < silence:
            return
        self._reported_at, self._received = now, received
        waited, size = now - self._began, self._file.size if received else 0
        yield LockWaiting(self._model, self._file.path, leader.candidate.label, waited, received, size)

    def _ask(self, asked: Sequence[AskedPeer]) -> None:
        """Ask some peers at the same time."""

        def question(each: AskedPeer) -> Callable[[], None]:
            return lambda: _ask_quietly(self._runtime, each)

        threads = [(each, start(question(each), THREAD_NAME)) for each in asked[1:]]
        for each in [*asked[:1], *(each for each, thread in threads if thread is None)]:
            _ask_one(self._runtime, each, 0.0)  # also where the system allows no more threads
        for _, thread in threads:
            if thread is not None:
                thread.join()
        self._runtime.cancel.raise_if_cancelled()


def _leave(asked: Sequence[AskedPeer]) -> None:
    """Do not wait again for some peers, which were waited for in vain."""
    for each in asked:
        assert isinstance(each.candidate.offer, Askable)
        each.candidate.offer.stop_waiting()


def _ask_quietly(runtime: Runtime, asked: AskedPeer) -> None:
    """Ask a peer in a thread; a cancellation ends the question, and is raised by the thread that waits."""
    try:
        _ask_one(runtime, asked, 0.0)
    except Cancelled:
        return


def _ask_one(runtime: Runtime, asked: AskedPeer, wait: float) -> None:
    offer = asked.candidate.offer
    assert isinstance(offer, Askable)
    try:
        answer = offer.ask(wait)
    except SourceError as error:
        asked.answer, asked.error = PeerAnswer("lacks"), error
    else:
        asked.note(answer, runtime.clock())


def _sort_out(asked: Sequence[AskedPeer], path: str, candidates: Candidates, now: float) -> Failed:
    """Remove the peers that do not have the file, and put those that are fetching it last."""
    failed: Failed = []
    for each in asked:
        if each.error is not None or each.answer.state == "lacks":
            candidates.discard(each.candidate)
            failed.append((each.candidate, each.error or SourceError(Fault.NOT_FOUND, "not found")))
        elif each.answer.state == "fetching":
            candidates.demote(each.candidate, now)
        if tracing.active is not None:
            outcome = each.error.message if each.error is not None else each.answer.state
            tracing.active.say(f"peer {each.candidate.offer.host}: {path}: {outcome}")
    return failed
