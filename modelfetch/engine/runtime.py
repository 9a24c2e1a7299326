"""What a run works with: the store, the sources, and the limits on time, speed and connections.

:mod:`modelfetch.engine.setup` makes a runtime from the settings; tests make their own. The engine reads all
it needs from here, so it depends on no setting and no environment variable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from modelfetch.engine.hosts import CONNECTIONS, Hosts
from modelfetch.engine.rate_limit import Allowance, Clock, RateLimit
from modelfetch.engine.segments import SplitPolicy
from modelfetch.engine.skeletons import Skeletons
from modelfetch.errors import DeadlineError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.retry import RetryPolicy
from modelfetch.sources.base import Offer, Source

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.engine.batch_requests import Requests
    from modelfetch.engine.first_answer import FirstAnswer
    from modelfetch.engine.swarm_protocols import RunSwarm
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.store import Partial, Store

Rank = Callable[[Sequence[Offer]], Sequence[Offer]]
"""Sorts the offers of one kind of source into the order in which they are asked."""

Discover = Callable[[Sequence[tuple[Manifest, FileSpec]]], None]
"""Prepares a source for files that are missing; its offers may be others from then on."""

Absent = Callable[[Offer, Manifest, FileSpec], bool]
"""Returns whether an offer is known not to have a file; it is then asked after all others."""


def _none_absent(offer: Offer, manifest: Manifest, file: FileSpec) -> bool:  # noqa: ARG001
    """Know of no missing file."""
    return False


class KnownChunks(Protocol):
    """What a run knows about the chunks of a file: :class:`modelfetch.engine.file_chunks.FileChunks`."""

    @property
    def table(self) -> LeafTable | None:
        """The table, or None if none is known."""

    @property
    def is_proven(self) -> bool:
        """Whether the table belongs to the CID of the manifest; once it does, it stays the same."""


Opened = Callable[["Partial", KnownChunks], None]
"""Called by the thread that fetches a file, with its partial and what is known about its chunks, once the
partial is open."""


def unobserved(partial: Partial, chunks: KnownChunks) -> None:
    """Hand on no partial: only a server that sends files while they arrive needs them."""


def _nothing(address: str = "") -> None:
    """Prepare and close nothing, for a runtime without HTTP."""


def _as_listed(offers: Sequence[Offer]) -> Sequence[Offer]:
    """Keep the order of settings and manifest, without any knowledge of hosts."""
    return offers


@dataclass(slots=True)
class Runtime:
    """Everything that a run works with, made once by the caller. One runtime serves one run.

    What changes during a run: the entries of ``positions`` and ``requests``, and the state inside ``rate``,
    ``allowance``, ``hosts``, ``skeletons``, ``cancel`` and ``store``, each through its own thread-safe
    methods. No field is assigned again after construction.
    """

    store: Store
    sources: Sequence[Source]
    """One for each kind, in the order in which they are asked."""
    cancel: Cancellation
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    rate: RateLimit = field(init=False)
    limit_rate: int | None = None
    """Bytes per second for all connections together."""
    min_speed: float = 1024.0
    """Bytes per second below which a source has failed (``network.min_speed``)."""
    stall_timeout: float = 30.0
    """Seconds over which the speed is measured (``network.stall_timeout``)."""
    allowance: Allowance = field(default_factory=Allowance)
    """Shared with other runs of this process, so that the limit holds for all of them together."""
    offline: bool = False
    """Whether the network may not be used; the sources are then those of this disk."""
    files: int = 4
    """Most files fetched at the same time."""
    split_policy: SplitPolicy = field(default_factory=SplitPolicy)
    """When and how a large file is fetched over several connections."""
    timeout: float | None = None
    """Seconds for the whole run, counted from construction, or None for no limit."""
    deadline: float | None = field(init=False)
    """Clock seconds at which the run must end, or None."""
    name: str = ""
    """Name of the run, shown to processes that wait for its locks; empty if the process ID is enough."""
    lock_timeout: float | None = None
    """Seconds to wait for a lock of another process, or None to wait until that process ends."""
    rank: Rank = _as_listed
    """The order within a kind. Called from several threads."""
    absent: Absent = _none_absent
    """What is known to be missing where. Called from several threads."""
    discover: Discover | None = None
    """Finds the peers. Called once, when files are missing; works in the background. None without peers."""
    prepare: Callable[[str], None] = _nothing
    """Loads what a request to an address needs, so that the time until the answer is that of the network."""
    close: Callable[[], None] = _nothing
    """Closes connections. Called once, at the end of the run."""
    opened: Opened = unobserved
    """Observes the files that are fetched. Called from several threads."""
    clock: Clock = time.monotonic
    positions: dict[tuple[str, str], Callable[[], int]] = field(default_factory=dict)
    """Functions, by model and path, that return how many bytes of a file under way are there. A thread that
    waits for the next byte cannot report progress, so the consumer of the events asks here."""
    requests: Requests = field(default_factory=dict)
    """Requests of a batch that are under way, by model and path, for the same reason."""
    first_offers: dict[tuple[int, str], tuple[Manifest, Offer]] = field(default_factory=dict)
    """The first offers of a plan, for the batch that follows: making them again takes a tenth of its time. By
    ``id`` of the manifest, which is kept so that no other one gets it, and path."""
    first_answers: dict[str, FirstAnswer] = field(default_factory=dict)
    """By digest, the answers of a batch that did not bring their file; each is taken out when it is used."""
    skeletons: Skeletons = field(default_factory=Skeletons)
    """The skeletons of the models, each read once."""
    swarm: RunSwarm | None = None
    """The swarm that helps to fill files; None if it is off. It may serve several runs."""
    hosts: Hosts = field(init=False)

    def __post_init__(self) -> None:
        self.rate = RateLimit(self.limit_rate, self.cancel, self.clock, self.allowance)
        self.deadline = None if self.timeout is None else self.clock() + self.timeout
        # A file is cut into no more segments than the limit per host allows (Hosts.connections_for). With
        # CONNECTIONS alone, a larger number of connections to one file would have no effect.
        self.hosts = Hosts(self.clock, max(CONNECTIONS, self.split_policy.connections))

    def check_deadline(self, doing: str) -> None:
        """Raise when the time limit of the run is reached.

        Args:
            doing: What the run is doing, for the message: model, file and source; empty between files.

        Raises:
            DeadlineError: The time limit is reached.
        """
        if self.deadline is not None and self.clock() >= self.deadline:
            raise DeadlineError(
                f"{doing}{': ' if doing else ''}the time limit of {self.timeout:g} s was reached",
                hint="Run the same command again to continue, or give a longer --timeout.",
            )

    def offers(self, *files: tuple[Manifest, FileSpec]) -> list[Offer]:
        """Return every offer of one of some equal files, in the order in which they are asked."""
        return list(self.each_offer(*files))

    def each_offer(self, *files: tuple[Manifest, FileSpec]) -> Iterator[Offer]:
        """Yield the offers one by one, for callers that need only the first."""
        late: list[Offer] = []  # offers known not to have the file: asked when all others failed
        for source in self.sources:
            found: list[Offer] = []
            for place in files:
                for offer in source.offers(*place):
                    (late if self.absent(offer, *place) else found).append(offer)
            yield from self.rank(found) if len(found) > 1 else found
        yield from late
