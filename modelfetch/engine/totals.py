"""The figures of a run: phase and position of each file, the totals of all files, and speed and ETA.

:class:`Ledger` changes the totals with each change of a file, so that reading them costs the same for ten
files and for thousands. Speed and ETA are measured in :mod:`modelfetch.engine.speed_and_eta`.

Units: bytes and seconds; ``at`` is a time on a monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

from modelfetch.engine.events import FileResult, Part, Status
from modelfetch.engine.parts import label_of, parts_of
from modelfetch.engine.speed_and_eta import Meter, eta_of
from modelfetch.lazy_dataclass import dataclass, field

Phase = Literal["queued", "fetching", "retrying", "verifying", "done", "failed"]
"""State of a file. ``verifying``: all bytes are there, and are being hashed or put in place."""

FileId = tuple[str, str]
"""Model and path, which identify a file in a run."""

_ACTIVE: Final[frozenset[Phase]] = frozenset({"fetching", "retrying", "verifying"})
_ENDED: Final[dict[Phase, Status]] = {"done": "completed", "failed": "failed"}
_NEARLY: Final = 99.9
"""Largest percentage of anything that is not done: 100 must mean done."""


@dataclass(slots=True)
class FileState:
    """One file of a run."""

    model: str
    file: str
    size: int
    received: int = 0
    """Bytes that are there, as far as is known; in a verify run, bytes hashed. Never more than ``size``."""
    kept: int = 0
    """Bytes that were there when the file was started."""
    phase: Phase = "queued"
    source: str = ""
    host: str = ""
    attempt: int = 0
    """Number of the attempt at this source; 0 before the first."""
    fault: str = ""
    """The last :class:`modelfetch.errors.Fault`."""
    note: str = ""
    """Reason of the last retry or fallback, as the source gave it: sanitize before it is shown."""
    left: tuple[str, str] | None = None
    """Kind and host of the source that ``note`` is about, if another source was asked after it."""
    known_parts: tuple[Part, ...] = ()
    """Which source supplied which bytes, as the last event said; see :attr:`parts`."""
    retry_at: float = 0.0
    """Time of the next attempt of a retrying file, on the clock of :meth:`RunState.apply`."""
    meter: Meter = field(default_factory=Meter, repr=False)

    @property
    def key(self) -> FileId:
        """Identifier of the file in the run."""
        return self.model, self.file

    @property
    def is_active(self) -> bool:
        """Whether work on the file is under way."""
        return self.phase in _ACTIVE

    @property
    def is_waiting(self) -> bool:
        """Whether no request is under way, as before the first one and between two attempts."""
        return self.phase == "retrying" or (self.phase == "fetching" and not self.attempt)

    @property
    def speed(self) -> float | None:
        """Bytes per second, or None while that is not known or no bytes are transferred."""
        return self.meter.speed if self.phase in ("fetching", "verifying") else None

    @property
    def idle(self) -> float | None:
        """Seconds without a byte; None while bytes come, see :attr:`.Meter.idle`."""
        return self.meter.idle if self.phase == "fetching" else None

    @property
    def eta(self) -> float | None:
        """Seconds until the last byte, or None while that is not known."""
        return eta_of(self.size - self.received, self.speed)

    @property
    def percent(self) -> float:
        """0 to 100; 100 only when done."""
        return _percent(self.received, self.size, done=self.phase == "done")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Which source supplied which of the bytes that are there; ``cache`` if they were there before."""
        if self.known_parts or self.phase != "done":
            return self.known_parts
        return parts_of((), self.size, label_of(self.source, self.host))

    @property
    def given_up(self) -> int:
        """Missing bytes of a failed file, which do not count for the ETA."""
        return self.size - self.received if self.phase == "failed" else 0

    def result(self, unfinished: Status) -> FileResult:
        """Return how the file ended.

        Args:
            unfinished: Status of a file that is neither done nor failed.
        """
        return FileResult(
            model=self.model,
            file=self.file,
            status=_ENDED.get(self.phase, unfinished),
            reason=self.fault if self.phase == "failed" else "",
            source=label_of(self.source, self.host),
            size=self.size,
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of a whole run."""

    received: int
    size: int
    speed: float | None
    eta: float | None
    idle: float | None
    """Seconds without a byte of any file being fetched; None while bytes come, see :attr:`.Meter.idle`."""
    percent: float
    files: int
    files_done: int


@dataclass(slots=True)
class Ledger:
    """All files of a run. Only :meth:`move` changes phases and positions, so that the totals are right."""

    files: dict[FileId, FileState] = field(default_factory=dict)
    active: dict[FileId, FileState] = field(default_factory=dict)
    phases: Counter[Phase] = field(default_factory=Counter)
    _received: int = 0
    _size: int = 0
    _given_up: int = 0
    _meter: Meter = field(default_factory=Meter, repr=False)

    def file(self, model: str, path: str, size: int | None = None) -> FileState:
        """Return a file, added on first use. A size, if given, replaces the previous one."""
        file = self.files.get((model, path))
        if file is None:
            file = self.files[model, path] = FileState(model, path, 0)
            self.phases[file.phase] += 1
        if size is not None:
            self._size += size - file.size
            file.size = size
        return file

    def move(self, file: FileState, phase: Phase, received: int, at: float, *, is_gain: bool = True) -> None:
        """Set phase and position of a file.

        Args:
            file: One of :attr:`files`.
            phase: Its new phase.
            received: Its new position, clamped to 0 and its size.
            at: Now.
            is_gain: Whether added bytes were received just now, and so count for the speed.
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
            self._meter = Meter()  # the speed after a retry is that of the new bytes only

    def reset_if_waiting(self) -> None:
        """Forget the speed of the run if no request is under way: a wait is neither slow nor idle."""
        if all(file.is_waiting for file in self.active.values()):
            self._meter = Meter()

    def _measure(self, file: FileState, gained: int, at: float) -> None:
        if not self.active:
            self._meter.pause()  # time without any active file must not lower the speed
        self._meter.add(gained, at)
        file.meter.add(gained, at)

    def _list(self, file: FileState) -> None:
        if file.is_active:
            self.active[file.key] = file
        else:
            self.active.pop(file.key, None)

    @property
    def totals(self) -> Totals:
        """The figures of the whole run; the cost does not grow with the number of files."""
        done, files = self.phases["done"], len(self.files)
        speed = self._meter.speed
        return Totals(
            received=self._received,
            size=self._size,
            speed=speed,
            eta=self._eta(speed),
            idle=self._meter.idle if self._is_fetching else None,
            percent=_percent(self._received, self._size, done=0 < files == done),
            files=files,
            files_done=done,
        )

    @property
    def _is_fetching(self) -> bool:
        """Whether a file is being fetched, so that bytes are expected."""
        return any(file.phase == "fetching" and file.attempt for file in self.active.values())

    def _eta(self, speed: float | None) -> float | None:
        # A run ends no sooner than its slowest file, however fast the others make the average.
        run = eta_of(self._size - self._received - self._given_up, speed)
        files = [eta for file in self.active.values() if (eta := file.eta) is not None]
        return None if run is None else max(run, *files, 0.0)


def _percent(received: int, size: int, *, done: bool) -> float:
    if done:
        return 100.0
    return min(_NEARLY, 100.0 * received / size) if size else 0.0
