"""The books of a run: where each file is, and sums that stay true while files move.

Units: bytes and seconds; ``at`` is a monotonic clock.

How fast bytes come: a moving average that is right from its first moment.

Units: bytes and seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from typing import Final, Literal

from modelfetch.engine.events import FileResult, Status
from modelfetch.lazy_dataclass import dataclass

HALF_LIFE: Final = 10.0
"""Seconds after which a sample weighs half: long enough for a calm ETA, as Hugging Face's transfer library
has it."""

SAMPLES: Final = 4
"""Samples before a speed is shown; fewer say more about the first packet than about the line."""

IDLE_SECONDS: Final = 2.0
"""Seconds without a byte after which there is no speed any more: longer than the round trips and bursts of an
ordinary connection, shorter than the patience of who looks on."""

INTERVAL: Final = 0.05
"""Seconds a sample spans at least: what comes closer together is a burst of the event queue, not of the
network."""


@dataclass(slots=True)
class Meter:
    """Bytes per second as an exponentially weighted average over time.

    Both the average and the sum of its weights are kept and divided by one another. So a young average is
    not drawn towards zero, and samples of any length count by their length.
    """

    _since: float | None = None
    _bytes: int = 0
    _average: float = 0.0
    _weight: float = 0.0
    _samples: int = 0
    _heard: float | None = None
    """When the last byte came, or the waiting for the first one began."""
    _now: float = 0.0

    @property
    def speed(self) -> float | None:
        """Bytes per second, never negative; None until there are :data:`SAMPLES` samples, and while idle."""
        return self._average / self._weight if self._samples >= SAMPLES and self.idle is None else None

    @property
    def idle(self) -> float | None:
        """Seconds without a byte, from :data:`IDLE_SECONDS` on; None while bytes come."""
        waited = 0.0 if self._heard is None else self._now - self._heard
        return waited if waited >= IDLE_SECONDS else None

    def add(self, gained: int, at: float) -> None:
        """Count bytes.

        Args:
            gained: Bytes since the last call. Those of the first call (or the first after a pause) came in an
                unknown time: they only start the clock, as does silence before the first byte.
            at: Now, on a monotonic clock, in seconds.
        """
        self._now = at
        if gained or self._heard is None:
            self._heard = at
        is_silent = not (gained or self._bytes or self._samples)
        if self._since is None or is_silent:
            self._since = at
            return
        self._bytes += gained
        elapsed = at - self._since
        if elapsed >= INTERVAL:
            self._sample(self._bytes / elapsed, elapsed)
            self._since, self._bytes = at, 0

    def pause(self) -> None:
        """Leave out the time until the next call of :meth:`add`."""
        self._since, self._bytes, self._heard = None, 0, None

    def _sample(self, rate: float, elapsed: float) -> None:
        fade = 0.5 ** (elapsed / HALF_LIFE)
        self._average = self._average * fade + rate * (1 - fade)
        self._weight = self._weight * fade + (1 - fade)
        self._samples += 1


Phase = Literal["queued", "fetching", "retrying", "verifying", "done", "failed"]
"""Where a file is. ``verifying``: its bytes are there and are being judged, or put in place."""

FileId = tuple[str, str]
"""Model and path: what names a file in a run."""

_ACTIVE: Final[frozenset[Phase]] = frozenset({"fetching", "retrying", "verifying"})
_ENDED: Final[dict[Phase, Status]] = {"done": "completed", "failed": "failed"}
_NEARLY: Final = 99.9
"""The largest percentage of anything that is not done; 100 is a promise."""


@dataclass(slots=True)
class FileState:
    """One file of a run."""

    model: str
    file: str
    size: int
    received: int = 0
    """Bytes that are there, so far as is known; when verifying, bytes hashed. Never more than ``size``."""
    kept: int = 0
    """Bytes that were there when work on the file began."""
    phase: Phase = "queued"
    source: str = ""
    host: str = ""
    attempt: int = 0
    """Which try of this source is under way; 0 before the first."""
    fault: str = ""
    """The last :class:`modelfetch.errors.Fault`."""
    note: str = ""
    """The reason of the last retry or fallback, as the source gave it: sanitise before showing."""
    left: tuple[str, str] | None = None
    """Kind and host of the source that ``note`` is about, when it was left for another one."""
    retry_at: float = 0.0
    """When a retrying file is asked for again, on the clock of :meth:`RunState.apply`."""
    meter: Meter = field(default_factory=Meter, repr=False)

    @property
    def key(self) -> FileId:
        """What names the file in the run."""
        return self.model, self.file

    @property
    def is_active(self) -> bool:
        """Whether work on the file is under way."""
        return self.phase in _ACTIVE

    @property
    def speed(self) -> float | None:
        """Bytes per second, or None while that is not known or the file stands still."""
        return self.meter.speed if self.phase in ("fetching", "verifying") else None

    @property
    def idle(self) -> float | None:
        """Seconds without a byte, once they are too many to speak of a speed; None while bytes come."""
        return self.meter.idle if self.phase == "fetching" else None

    @property
    def eta(self) -> float | None:
        """Seconds until the last byte, or None while that is not known."""
        return _eta(self.size - self.received, self.speed)

    @property
    def percent(self) -> float:
        """0 to 100; 100 only when done."""
        return _percent(self.received, self.size, done=self.phase == "done")

    @property
    def given_up(self) -> int:
        """Bytes nobody waits for any more."""
        return self.size - self.received if self.phase == "failed" else 0

    def result(self, unfinished: Status) -> FileResult:
        """How the file ended; ``unfinished`` is the status of one that is neither done nor failed."""
        return FileResult(
            model=self.model,
            file=self.file,
            status=_ENDED.get(self.phase, unfinished),
            reason=self.fault if self.phase == "failed" else "",
            source=f"{self.source} {self.host}".strip(),
            size=self.size,
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """A run in figures."""

    received: int
    size: int
    speed: float | None
    eta: float | None
    idle: float | None
    """As of a file, while files are fetched and none of them gets a byte."""
    percent: float
    files: int
    files_done: int


@dataclass(slots=True)
class Ledger:
    """All files of a run; :meth:`move` is the only way to change where one is."""

    files: dict[FileId, FileState] = field(default_factory=dict)
    active: dict[FileId, FileState] = field(default_factory=dict)
    phases: Counter[Phase] = field(default_factory=Counter)
    _received: int = 0
    _size: int = 0
    _given_up: int = 0
    _meter: Meter = field(default_factory=Meter, repr=False)

    def file(self, model: str, path: str, size: int | None = None) -> FileState:
        """Return a file, entered on first sight; a size, where known, replaces the one before."""
        file = self.files.get((model, path))
        if file is None:
            file = self.files[model, path] = FileState(model, path, 0)
            self.phases[file.phase] += 1
        if size is not None:
            self._size += size - file.size
            file.size = size
        return file

    def move(self, file: FileState, phase: Phase, received: int, at: float, *, is_gain: bool = True) -> None:
        """Bring a file to a phase and a position.

        Args:
            file: One of :attr:`files`.
            phase: Its new phase.
            received: Its new position; what is out of range is clamped.
            at: Now.
            is_gain: Whether bytes gained came in just now, and so are speed.
        """
        received = min(max(received, 0), file.size)
        self._measure(file, max(0, received - file.received) if is_gain else 0, at)
        self._received += received - file.received
        self._given_up -= file.given_up
        self.phases[file.phase] -= 1
        file.phase, file.received = phase, received
        self.phases[phase] += 1
        self._given_up += file.given_up
        self._list(file)
        if self.active and self.phases.get("retrying", 0) == len(self.active):
            self._meter = Meter()  # the speed after a retry is that of the new bytes

    def _measure(self, file: FileState, gained: int, at: float) -> None:
        if not self.active:
            self._meter.pause()  # time without any work is not slowness
        self._meter.add(gained, at)
        file.meter.add(gained, at)

    def _list(self, file: FileState) -> None:
        if file.is_active:
            self.active[file.key] = file
        else:
            self.active.pop(file.key, None)

    @property
    def totals(self) -> Totals:
        """The figures of the whole run; cheap, whatever the number of files."""
        done, files = self.phases["done"], len(self.files)
        speed = self._meter.speed
        return Totals(
            received=self._received,
            size=self._size,
            speed=speed,
            eta=self._eta(speed),
            idle=self._meter.idle if self.phases["fetching"] else None,
            percent=_percent(self._received, self._size, done=0 < files == done),
            files=files,
            files_done=done,
        )

    def _eta(self, speed: float | None) -> float | None:
        # A run ends no sooner than its slowest file, however fast the others make the average.
        run = _eta(self._size - self._received - self._given_up, speed)
        files = [eta for file in self.active.values() if (eta := file.eta) is not None]
        return None if run is None else max(run, *files, 0.0)


def _eta(remaining: int, speed: float | None) -> float | None:
    if remaining <= 0:
        return 0.0
    return remaining / speed if speed is not None and speed >= 1 else None


def _percent(received: int, size: int, *, done: bool) -> float:
    if done:
        return 100.0
    return min(_NEARLY, 100.0 * received / size) if size else 0.0
