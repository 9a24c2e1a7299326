"""Fake sources with scripted faults, a fake clock, and a laboratory that runs the engine with them."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import TypeVar

from modelfetch.cancel import Cancellation
from modelfetch.engine.ensure import ensure
from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    LockWaiting,
    Progress,
    RetryScheduled,
    RunFinished,
)
from modelfetch.engine.options import EnsureOptions, Request
from modelfetch.engine.rate_limit import Clock
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.segments import SplitPolicy
from modelfetch.engine.verify import VerifyRequest, verify
from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.responses import Unranged
from modelfetch.net.retry import RetryPolicy
from modelfetch.sources.base import Offer, Source, Stream
from modelfetch.store import Disk, Store
from tests.origin.content import Content
from tests.patience import IN_TIME

T = TypeVar("T")

MIB = 1 << 20

EAGER = SplitPolicy(
    connections=5,
    min_size=0,
    min_part=50_000,
    min_remainder=100_000,
    max_delay=0.0,
    fast_speed=1e15,
    max_waste=1.0,
)
"""All parallel connections start at once, however small the file."""
ALONE = SplitPolicy(connections=1)
"""One connection for each file, so that what is asked for is the same every time."""
QUICK = RetryPolicy(base=0.001, cap=0.002)
"""The real rules, with waits too short to notice."""


class FakeClock:
    """A clock that a test sets."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class TickingClock(FakeClock):
    """A clock on which time passes with each look, and only so: how busy the machine is makes no difference.

    Attributes:
        step: Seconds that pass with each look.
    """

    def __init__(self, step: float = 0.0) -> None:
        super().__init__()
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class FakeTime(Cancellation):
    """A cancellation whose sleeps take no time, but move a clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.raise_if_cancelled()
        self.sleeps.append(max(0.0, seconds))
        self.clock.now += self.sleeps[-1]


class SpyDisk(Disk):
    """The real disk, which records each operation, and refuses those that a test chooses."""

    def __init__(
        self, refuses: Callable[[str, Path], bool] = lambda _operation, _path: False, code: int = errno.ENOSPC
    ) -> None:
        super().__init__(fsync=False)
        self.operations: list[tuple[str, Path]] = []
        self._refuses = refuses
        self._code = code

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        self.operations.append((operation, path))
        if self._refuses(operation, path):
            raise OSError(self._code, os.strerror(self._code))
        return super().perform(operation, path, call)


def body(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress, the same every time."""
    return Content.random(f"{seed} {size}", size).data


@lru_cache(maxsize=16)
def sha256(content: bytes) -> str:
    """The digest, kept: many tests use the same megabytes."""
    return hashlib.sha256(content).hexdigest()


def spec(path: str, content: bytes) -> FileSpec:
    return FileSpec(path, len(content), sha256(content))


def model(name: str, files: Mapping[str, bytes], version: str = "1", license: str = "MIT") -> Manifest:  # noqa: A002
    return Manifest(
        name, version, tuple(spec(path, content) for path, content in files.items()), license=license
    )


# What a source may answer


@dataclass(frozen=True)
class Answer:
    """One answer of a source; without anything special, all that was asked for."""

    until: int | None = None
    """Position in the file where it stops, if before the end."""
    most: int | None = None
    """Number of bytes after which it stops."""
    error: BaseException | None = None
    """What is raised where it stops; None to stop as if all were well."""
    refuses: bool = False
    """Whether the error comes at once, instead of an answer."""
    whole: bool = False
    """Whether it starts at 0, whatever was asked for."""
    sends: bytes | None = None
    """Other bytes than the right ones."""
    piece: int = 64 * 1024
    before_piece: Callable[[], object] = lambda: None


def cut(*, until: int | None = None, most: int | None = None, fault: Fault = Fault.CUT) -> Answer:
    """Stop in the middle, and fail."""
    return Answer(until=until, most=most, error=SourceError(fault, f"{fault} on purpose"))


def refuse(fault: Fault, *, retry_after: float | None = None, hint: str = "") -> Answer:
    """Do not answer at all."""
    error = SourceError(fault, f"{fault} on purpose", retry_after=retry_after, hint=hint)
    return Answer(refuses=True, error=error)


def crash(error: BaseException) -> Answer:
    """Raise what no source should."""
    return Answer(refuses=True, error=error)


def flipped(content: bytes, at: int) -> bytes:
    """The same bytes, but for one bit."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


OK = Answer()
NOT_FOUND = refuse(Fault.NOT_FOUND)
STALL = cut(most=0, fault=Fault.STALL)


class FakeStream:
    """The bytes of one answer."""

    def __init__(self, answer: Answer, content: bytes, offset: int, end: int | None) -> None:
        self.start = 0 if answer.whole else offset
        self.ranged = not answer.whole
        self.is_closed = False
        self._answer = answer
        sends = content if answer.sends is None else answer.sends
        ends = [len(sends) if answer.until is None else answer.until]
        if end is not None and not answer.whole:
            ends.append(end)
        if answer.most is not None:
            ends.append(self.start + answer.most)
        self._left = sends[self.start : max(self.start, min(ends))]

    def __iter__(self) -> Iterator[memoryview]:
        answer = self._answer
        buffer = bytearray(answer.piece)  # used again: a piece is promised until the next one only
        for at in range(0, len(self._left), answer.piece):
            answer.before_piece()
            piece = self._left[at : at + answer.piece]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]
        if answer.error is not None:
            raise answer.error

    def close(self) -> None:
        self.is_closed = True


_NUMBERS = count()


class FakeOffer:
    """One place with one file: gives its answers in turn, the last one for ever."""

    def __init__(self, kind: str, host: str, content: bytes, answers: Sequence[Answer]) -> None:
        self.kind = kind
        self.host = host
        self.address = f"https://{host}/{next(_NUMBERS)}"
        self.asked: list[int] = []
        """The offset of every request."""
        self.hurried: list[float | None] = []
        """How long each might take to begin."""
        self.streams: list[FakeStream] = []
        self._content = content
        self._answers = answers or (OK,)

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        self.hurried.append(first_byte)
        answer = self._answers[min(len(self.asked), len(self._answers) - 1)]
        self.asked.append(offset)
        if answer.refuses and answer.error is not None:
            raise answer.error
        if answer.whole and end is not None and offset:
            raise Unranged
        stream = FakeStream(answer, self._content, offset, end)
        self.streams.append(stream)
        return stream


class FakeSource:
    """All places of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.places: dict[str, list[FakeOffer]] = {}

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        return self.places.get(file.sha256, [])


class Laboratory:
    """A cache, sources, and runs of the real engine on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root, fsync=False)
        self.sources: dict[str, FakeSource] = {}

    def serve(
        self, content: bytes, *answers: Answer, kind: str = "mirror", host: str = "a.example"
    ) -> FakeOffer:
        """Add a place that has a file; kinds are asked in the order in which they first appear."""
        source = self.sources.setdefault(kind, FakeSource(kind))
        offer = FakeOffer(kind, host, content, answers)
        source.places.setdefault(sha256(content), []).append(offer)
        return offer

    def runtime(
        self,
        *,
        store: Store | None = None,
        cancel: Cancellation | None = None,
        retry: RetryPolicy = QUICK,
        limit_rate: int | None = None,
        files: int = 4,
        seconds: float | None = None,
        lock_timeout: float | None = None,
        sources: Sequence[Source] | None = None,
        clock: Clock = time.monotonic,
        split_policy: SplitPolicy | None = None,
    ) -> Runtime:
        """Make the runtime of one run; ``seconds`` is its time limit."""
        return Runtime(
            store=store or self.store,
            sources=list(self.sources.values()) if sources is None else sources,
            cancel=cancel or Cancellation(),
            retry=retry,
            limit_rate=limit_rate,
            files=files,
            timeout=seconds,
            lock_timeout=lock_timeout,
            clock=clock,
            split_policy=split_policy or ALONE,
        )

    def follow(
        self,
        *manifests: Manifest,
        runtime: Runtime | None = None,
        offline: bool = False,
        force: bool = False,
        to: Path | None = None,
    ) -> Generator[Event, None, None]:
        """Run ensure, an event at a time."""
        request = Request(manifests, EnsureOptions(force=force, to=to))
        yield from ensure(self._runtime(runtime, offline=offline), request)

    def ensure(
        self,
        *manifests: Manifest,
        runtime: Runtime | None = None,
        offline: bool = False,
        force: bool = False,
        to: Path | None = None,
    ) -> list[Event]:
        """Run ensure to its end."""
        return list(self.follow(*manifests, runtime=runtime, offline=offline, force=force, to=to))

    def verify(
        self,
        *manifests: Manifest,
        runtime: Runtime | None = None,
        quick: bool = False,
        repair: bool = False,
        strict: bool = False,
        sample: int = 0,
        offline: bool = False,
    ) -> list[Event]:
        """Run verify to its end."""
        request = VerifyRequest(manifests, quick=quick, repair=repair, strict=strict, sample=sample)
        return list(verify(self._runtime(runtime, offline=offline), request))

    def _runtime(self, runtime: Runtime | None, *, offline: bool) -> Runtime:
        runtime = runtime or self.runtime()
        return replace(runtime, offline=True) if offline else runtime

    def install(self, *manifests: Manifest, contents: Iterable[bytes] = ()) -> None:
        """Make models present by an ordinary run, from a source that is gone afterwards."""
        other = Laboratory(self.root)
        for content in contents:
            other.serve(content, kind="mirror", host="earlier.example")
        assert last(other.ensure(*manifests)).exit_code == 0

    def place(self, manifest: Manifest, path: str) -> Path:
        """Say where a file of a model lies."""
        return self.store.directory(manifest) / path

    def read(self, manifest: Manifest, path: str) -> bytes:
        return self.place(manifest, path).read_bytes()

    def begin(self, content: bytes, origin: str, length: int | None = None, wrong: bytes = b"") -> None:
        """Leave a partial as an earlier run would have, its first bytes wrong if so wanted."""
        bytes_there = (wrong + content[len(wrong) :])[:length]
        with self.store.partial(spec("earlier", content), True) as partial:
            for at in range(0, len(bytes_there), 100_000):
                partial.put(at, bytes_there[at : at + 100_000], origin)

    def quarantined(self) -> list[bytes]:
        """The bytes that were put aside."""
        return [path.read_bytes() for path in sorted(self.root.glob("quarantine/*/data"))]


def serve_all(lab: Laboratory, files: Mapping[str, bytes]) -> None:
    """Have one place with every file."""
    for content in files.values():
        lab.serve(content)


# Looking at events


def story(events: Iterable[Event]) -> list[Event]:
    """Events without progress, and without what differs between two equal runs."""
    return [steady(event) for event in events if not isinstance(event, Progress)]


def steady(event: Event) -> Event:
    match event:
        case FileCommitted() | RunFinished():
            return replace(event, seconds=0.0)
        case RetryScheduled():
            return replace(event, wait=0.0)
        case LockWaiting():
            return replace(event, waited=0.0)
        case FileQuarantined():
            return replace(event, path="")
        case _:
            return event


def of(events: Iterable[object], kind: type[T]) -> list[T]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def last(events: Sequence[Event]) -> RunFinished:
    """The end of a run, which is there once and last."""
    finished = of(events, RunFinished)
    assert len(finished) == 1
    assert events[-1] is finished[0]
    return finished[0]


def code(events: Sequence[Event]) -> int:
    return last(events).exit_code


def kinds(events: Iterable[Event]) -> list[str]:
    return [event.kind for event in story(events)]


def statuses(events: Sequence[Event]) -> dict[str, str]:
    """How each file ended, by path."""
    return {result.file: result.status for result in last(events).files}


def workers() -> list[threading.Thread]:
    """Threads of the engine that still live; a client's reading of the system's authorities is none."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("modelfetch-")]
    return [thread for thread in ours if thread.name != "modelfetch-tls"]


def all_workers_end() -> bool:
    """Whether each thread of the engine ends by itself, however long it takes on a busy machine.

    A run that was left waits for them half a second only.
    """
    for each in workers():
        each.join(IN_TIME)
    return not workers()


@dataclass
class Gate:
    """Holds a source up until it is opened, or the run is cancelled."""

    cancel: Cancellation = field(default_factory=Cancellation)
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.reached.set()
        while not self.opened.is_set():
            self.cancel.sleep(0.005)
