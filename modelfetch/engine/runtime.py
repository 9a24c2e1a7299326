"""What a run works with: the cache, the sources, and the rules of patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from modelfetch.engine.hosts import CONNECTIONS, Hosts
from modelfetch.engine.pace import Pace
from modelfetch.engine.rate_limit import Allowance, Clock, RateLimit
from modelfetch.engine.segments import SplitPolicy
from modelfetch.errors import DeadlineError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.retry import RetryPolicy
from modelfetch.sources.base import Offer, Source

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.store import Store

Rank = Callable[[Sequence[Offer]], Sequence[Offer]]
"""Puts the offers of one kind of source into the order in which they are asked."""


Absent = Callable[[Offer, Manifest, FileSpec], bool]
"""Whether a place is known not to have a file: it is asked when no other is left."""


def _unknown(offer: Offer, manifest: Manifest, file: FileSpec) -> bool:  # noqa: ARG001
    """Nothing is known of any place."""
    return False


def _nothing(address: str = "") -> None:
    """Prepare and close nothing: a runtime without connections."""


def _as_listed(offers: Sequence[Offer]) -> Sequence[Offer]:
    """Keep the order of settings and manifest: nothing is known of any host."""
    return offers


@dataclass(slots=True)
class Runtime:
    """Everything that a run works with, made once by the caller. One runtime serves one run.

    What changes during a run: the entries of ``positions``, and the state inside ``rate``, ``allowance``,
    ``hosts``, ``pace``, ``cancel`` and ``store``, each through its own thread-safe methods. No field is
    assigned again after construction.
    """

    store: Store
    sources: Sequence[Source]
    """In the order in which their kinds are asked."""
    cancel: Cancellation
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    rate: RateLimit = field(init=False)
    limit_rate: int | None = None
    """Bytes per second for all connections together."""
    min_speed: float = 1024.0
    """Bytes per second below which a source is left (``network.min_speed``)."""
    stall_timeout: float = 30.0
    """Seconds over which that is measured (``network.stall_timeout``)."""
    allowance: Allowance = field(default_factory=Allowance)
    """Shared with the runs beside this one that the limit holds for, too."""
    files: int = 4
    """Files in work at the same time."""
    sharing: SplitPolicy = field(default_factory=SplitPolicy)
    """How a large file is fetched over several connections."""
    timeout: float | None = None
    """Seconds for the whole run, counted from here, or None."""
    deadline: float | None = field(init=False)
    """Clock seconds at which the run must end, or None."""
    name: str = ""
    """What a run is called towards those who wait for its locks; empty where its process says enough."""
    lock_timeout: float | None = None
    """Seconds to wait for another process, or None for as long as it lives."""
    rank: Rank = _as_listed
    """The order within a kind; asked from several threads."""
    absent: Absent = _unknown
    """What is known to be missing where; asked from several threads."""
    prepare: Callable[[str], None] = _nothing
    """Gets ready to ask an address, so that the time until an answer is the network's alone."""
    close: Callable[[], None] = _nothing
    """Lets go of connections; called once, when the run is over."""
    clock: Clock = time.monotonic
    positions: dict[tuple[str, str], Callable[[], int]] = field(default_factory=dict)
    """By model and path: how many bytes of a file under way are there. For who follows the run, since who
    fetches cannot tell while it waits for the next byte."""
    hosts: Hosts = field(init=False)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.rate = RateLimit(self.limit_rate, self.cancel, self.clock, self.allowance)
        self.pace = Pace()
        self.deadline = None if self.timeout is None else self.clock() + self.timeout
        # A larger number of connections to one file was asked for, so the limit per host allows it.
        self.hosts = Hosts(self.clock, max(CONNECTIONS, self.sharing.connections))

    def check_deadline(self, doing: str) -> None:
        """Raise when the run's time is up.

        Args:
            doing: What the run is at: model, file and source; empty where it is between two of them.

        Raises:
            DeadlineError: It is.
        """
        if self.deadline is not None and self.clock() >= self.deadline:
            raise DeadlineError(
                f"{doing}{': ' if doing else ''}the time limit of {self.timeout:g} s was reached",
                hint="Run the same command again to go on where it stopped, or give it more --timeout.",
            )

    def offers(self, *files: tuple[Manifest, FileSpec]) -> list[Offer]:
        """Every place that claims to have one of some equal files, in the order in which they are asked."""
        return list(self.each_offer(*files))

    def each_offer(self, *files: tuple[Manifest, FileSpec]) -> Iterator[Offer]:
        """The offers one by one, for those who need the first."""
        late: list[Offer] = []
        for source in self.sources:
            found: list[Offer] = []
            for place in files:
                for offer in source.offers(*place):
                    (late if self.absent(offer, *place) else found).append(offer)
            yield from self.rank(found) if len(found) > 1 else found
        yield from late
