"""Decides which machines of a swarm read the other sources, and which part of the model each of them reads.

Every machine decides for itself, from the peers that it is connected to; none is asked or told. The rules:

* The ``count`` machines with the highest rank read: the SHA-256 of the model's identity and the peer ID
  (rendezvous hashing). Machines that know the same peers agree. When a reader disappears, the next in rank
  takes its place with the next report.
* Peers of other programs upload and download, but read no origin: they have no rank.
* Before the first decision, :data:`DISCOVERY_SECONDS` pass in which peers are found, or a little more while
  further ones appear.
* In a swarm that is larger than what one machine is connected to, being the first of those is not enough: a
  machine must be among the first of all, as far as its rank tells (:data:`LIKELY`).
* All others wait for pieces. One that received too little for its patience, which begins after the discovery,
  reads like a reader. The patience is random, so that not all machines lose it at the same time.
* A machine that reads goes on reading: what others have by then is left to the swarm (:meth:`Turn.needs`).
  Only one that began before any peer was connected decides again when peers connect soon after.

Example: 64 machines start together. Two of them read, each its own half first; the other 62 wait. Where
machines know only some of their peers, a few more of them read; pieces that a peer has are still read once.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.swarm.engine import Peer, Status

CLIENT: Final = b"-MF0100-"
"""How the peer IDs of this program begin (BEP 20): its two letters, and the version of these rules."""
_OWN_KIND: Final = re.compile(rf"{b'-MF'.hex()}[0-9a-f]{{34}}")

DISCOVERY_SECONDS: Final = 2.5
"""Seconds in which peers are looked for before the first decision. A multicast or a tracker answers within
one; connecting takes another."""
SETTLED_SECONDS: Final = 1.0
"""Seconds without a new peer after which the discovery is over."""
LATEST_SECONDS: Final = 6.0
"""Longest time of the discovery: a large swarm changes all the time."""
LIKELY: Final = 3.0
"""Of a large swarm, machines read whose rank is in the first ``LIKELY * count / size``. On average these are
three times ``count``. With a probability of 0.2 % there is none; then the patience of the others decides."""
LARGE: Final = 32
"""Size of a swarm from which on that holds: a machine may be connected to a part of it only."""
KNOWN: Final = 0.75
"""Share of the swarm from which on it does not: of machines that are connected to three quarters of the
others, fewer than three are the first two of those. The rule would leave one in sixty swarms one reader."""
PATIENCE: Final = (10.0, 20.0)
"""Bounds of the patience, in seconds: above the time that a reader needs for its first pieces, below
``network.stall_timeout``."""
LEAST_SPEED: Final = 64 * 1024
"""Bytes per second that the swarm must bring on average for as long as the patience lasts. A hostile peer
could otherwise keep a machine waiting for ever with one block now and then."""

WINDOW_SECONDS: Final = 2.0
"""Seconds over which it is measured whether the swarm brings enough at the moment."""

Clock = Callable[[], float]
"""Monotonic seconds."""


def new_peer_id() -> bytes:
    """Return a new peer ID of this program: 20 bytes, all of them ASCII, as libtorrent takes a text."""
    return CLIENT + os.urandom(6).hex().encode()


def is_own_kind(peer_id: str) -> bool:
    """Whether a peer ID, in hexadecimal, is one of this program. It is a claim that nothing proves."""
    return _OWN_KIND.fullmatch(peer_id) is not None


def rank(identity: str, peer_id: str) -> bytes:
    """Return the rank of a machine for a model; the highest ones read.

    Args:
        identity: Of the model's manifest.
        peer_id: In hexadecimal.
    """
    return sha256(f"{identity} {peer_id}".encode()).digest()


def readers(identity: str, peer_ids: Collection[str], count: int) -> list[str]:
    """Return the peer IDs of the machines that read, the one with the highest rank first."""
    return sorted(set(peer_ids), key=lambda each: rank(identity, each), reverse=True)[:count]


@dataclass(frozen=True, slots=True)
class ReaderPart:
    """Which pieces of each file a reader reads first: part ``index`` of ``count`` equal ones."""

    index: int
    count: int
    start: float = 0.0
    """Where in its part it begins: 0 to 1. Two machines that do not know each other may both have the same
    part; they begin at different places, so that each finds what the other one has read by then."""


class Turn:
    """Decides for one model whether this machine reads now. Not thread-safe.

    Args:
        identity: Of the model's manifest.
        own: The own peer ID, in hexadecimal.
        count: How many machines read (``swarm.readers``).
        clock: Monotonic seconds.
        jitter: Returns the patience for two bounds; random by default.
        least_speed: Bytes per second; see :data:`LEAST_SPEED`.
    """

    def __init__(
        self,
        identity: str,
        own: str,
        count: int,
        clock: Clock,
        jitter: Callable[[float, float], float] = random.uniform,
        least_speed: float = LEAST_SPEED,
    ) -> None:
        self._identity = identity
        self._own = own
        self._count = count
        self._clock = clock
        self._least = least_speed
        self._patience = jitter(*PATIENCE)
        self._began = self._grown_at = clock()
        self._since = clock()
        """When the current measurement of the swarm's speed began."""
        self._downloaded = self._base = 0
        self._known: tuple[Peer, ...] = ()
        self._size = 1
        self._availability = b""
        self._part: ReaderPart | None = None
        self._is_discovering = True
        self._is_provisional = False
        """Whether the part was decided without any peer: of busy machines none may be connected by then."""
        self._window = self._since, 0
        """When the current window began, and the bytes until then."""
        self._is_flowing = False
        """Whether the swarm brought enough in the last window."""

    def note(self, status: Status) -> None:
        """Note a report of the engine."""
        if len(status.peers) > len(self._known):
            self._grown_at = self._clock()
        self._known = status.peers
        self._size = max(status.swarm_size, len(status.peers) + 1)
        self._availability = status.availability
        self._downloaded = max(self._downloaded, status.downloaded)
        if self._downloaded - self._base >= self._least * self._patience:
            self._begin_measurement()
        seconds, count = self._clock() - self._window[0], self._downloaded - self._window[1]
        if seconds >= WINDOW_SECONDS:
            self._is_flowing = count >= self._least * seconds
            self._window = self._clock(), self._downloaded

    def forget_engine(self) -> None:
        """Start again with the peers of an engine that was restarted."""
        self._known, self._availability = (), b""
        self._downloaded = 0
        self._window, self._is_flowing = (self._clock(), 0), False
        self._begin_measurement()
        self.begin_discovery()

    def begin_discovery(self) -> None:
        """Look for peers as at the start: for a while it means nothing that none is connected."""
        self._began = self._grown_at = self._clock()
        self._is_discovering = True

    def _begin_measurement(self) -> None:
        self._base, self._since = self._downloaded, self._clock()

    @property
    def is_patient(self) -> bool:
        """Whether the swarm brought enough lately, or had too little time for that yet."""
        return self._clock() - self._since < self._patience

    @property
    def _is_enough(self) -> bool:
        """Whether to leave the rest to the swarm. An engine that reports nothing any more brings nothing."""
        is_recent = self._clock() - self._window[0] < 3 * WINDOW_SECONDS
        return self.is_patient or (self._is_flowing and is_recent)

    @property
    def has_peers(self) -> bool:
        """Whether any peer is connected."""
        return bool(self._known)

    @property
    def is_early(self) -> bool:
        """Whether peers had little time to connect yet."""
        return self._clock() - self._began < LATEST_SECONDS

    def part(self) -> ReaderPart | None:
        """Return what this machine reads, or None while it waits for the swarm."""
        is_again = self._is_provisional and self.has_peers and self.is_early
        if (self._part is None or is_again) and self._has_discovered:
            if self._is_discovering:
                self._is_discovering = False
                self._begin_measurement()
            self._part = self._decided()
            self._is_provisional = not self.has_peers
        return self._part

    @property
    def _has_discovered(self) -> bool:
        now = self._clock()
        if now - self._began < DISCOVERY_SECONDS:
            return False
        return now - self._grown_at >= SETTLED_SECONDS or now - self._began >= LATEST_SECONDS

    def _decided(self) -> ReaderPart | None:
        others = [peer.peer_id for peer in self._known if is_own_kind(peer.peer_id) and not peer.is_seed]
        chosen = readers(self._identity, [self._own, *others], self._count)
        own_rank = rank(self._identity, self._own)
        place, start = (int.from_bytes(own_rank[at : at + 4]) / 2**32 for at in (0, 4))
        # Of the known machines as many may read as of the connected ones.
        size = self._size * (len(others) + 1) / (len(self._known) + 1)
        is_small = size < LARGE or len(self._known) + 1 >= KNOWN * self._size
        is_likely = is_small or (1 - place) * size <= LIKELY * self._count
        if self._own in chosen and is_likely:
            # Not the place, which is nearly 1 for all of these. Alone, in order: so its bytes are hashed as
            # they come.
            return ReaderPart(chosen.index(self._own), len(chosen), start if self._size > 1 else 0.0)
        if not self._is_enough:
            return ReaderPart(int(place * self._count), self._count, start)
        return None

    def needs(self, pieces: Sequence[int]) -> list[int]:
        """Return those of some pieces that only a reader can bring.

        These are the pieces that no connected peer has. If the swarm was too slow for the whole patience and
        still is, or the engine does not report who has what, they are all.
        """
        if not self._is_enough:
            return list(pieces)
        if not self._availability:
            return [] if any(peer.is_seed for peer in self._known) else list(pieces)
        return [piece for piece in pieces if not self._availability[piece : piece + 1].strip(b"\0")]
