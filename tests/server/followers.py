"""Many followers of one job, one of which is stalled: it must not delay the others."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import (
    Event,
    FileStarted,
    Planned,
    PlannedFile,
    Progress,
    RunFinished,
    RunStarted,
)
from modelfetch.server.job_state import Order
from tests.patience import HELD
from tests.server.running import FakeEngine, Follower, Served, until

FILE = PlannedFile("big.bin", 1_000_000_000, "b" * 64, "missing", 0, ("mirror a.example",))


@dataclass(frozen=True, slots=True)
class Story:
    """The events of one job.

    Attributes:
        events: How many there are in all.
        facts: Every so many of them is one that no later one makes up for.
        pace: Events a second.
    """

    events: int
    facts: int = 1
    pace: float = 20_000.0

    @property
    def numbers(self) -> list[int]:
        """The numbers of those that every follower must get."""
        last = self.events - 1
        return [n for n in range(self.events) if n in (0, 1, last) or n % self.facts == 0]


class Teller:
    """A run that yields its events once all followers are connected."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.go = threading.Event()
        self.began = self.ended = 0.0

    def __call__(self, order: Order, _cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        yield Planned("m", "1", "", "MIT", "", "", "/x", FILE.size, FILE.size, (FILE,))
        self.go.wait(HELD)
        self.began = time.monotonic()
        for n in range(2, self._story.events - 1):
            time.sleep(max(0.0, self.began + n / self._story.pace - time.monotonic()))
            if n % self._story.facts == 0:
                yield FileStarted("m", "big.bin", FILE.size, n)
            else:
                yield Progress("m", "big.bin", "mirror", "a.example", 1, n, FILE.size)
        self.ended = time.monotonic()
        yield RunFinished("completed", 0, 1.0, (), None)


@dataclass
class Reader(threading.Thread):
    """A follower that reads without delay."""

    port: int
    path: str
    ids: list[int] = field(default_factory=list)
    marker: str = ""
    ended: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        with Follower(self.port, self.path) as follower:
            for message in follower:
                if message.id is None:
                    self.marker = message.data
                else:
                    self.ids.append(int(message.id))
        self.ended = time.monotonic()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the test.

    Attributes:
        told: Seconds in which the job sent its events.
        behind: Seconds after that until the last follower had read it all.
        shares: For each follower the share of the events it got.
        growth: Bytes by which the process grew, clients included.
    """

    told: float
    behind: float
    shares: list[float]
    growth: int


def follow(root: Path, story: Story, count: int) -> Outcome:
    """Follow a job with ``count`` followers, one of them stalled, and check what they receive."""
    teller = Teller(story)
    with Served(root, FakeEngine(teller)) as served:
        job_id = served.submit()
        path = f"/v1/jobs/{job_id}/stream"
        with Follower(served.port, path, buffer=4096):
            readers = [Reader(served.port, path) for _ in range(count - 1)]
            for reader in readers:
                reader.start()
            until(lambda: all(len(reader.ids) == 2 for reader in readers), "all followers")
            gc.collect()
            before = _resident()
            teller.go.set()
            for reader in readers:
                reader.join(60)
            until(lambda: served.jobs.get(job_id).state.is_over, "the end")
            gc.collect()
            growth = _resident() - before
        for reader in readers:
            _check(reader, story)
        return Outcome(
            told=teller.ended - teller.began,
            behind=max(reader.ended for reader in readers) - teller.ended,
            shares=[len(reader.ids) / story.events for reader in readers],
            growth=growth,
        )


def _check(reader: Reader, story: Story) -> None:
    assert reader.marker == "[DONE]"
    assert all(one < two for one, two in pairwise(reader.ids)), "in order, and none twice"
    assert set(story.numbers) <= set(reader.ids), "no event is missing"


def _resident() -> int:
    """Bytes of memory of this process (Linux), else 0."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096
