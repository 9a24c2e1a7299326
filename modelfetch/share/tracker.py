"""A minimal BitTorrent tracker: machines with the same model find each other through it. Pure, in memory.

BEP 3 (announce over HTTP) with compact peers (BEP 23, and BEP 7 for IPv6). A torrent of version 2 is
announced by the first 20 bytes of its infohash (BEP 52)::

    GET /announce?info_hash=%3f...&peer_id=-MF0100-...&port=6881&left=0&compact=1
    d8:completei1e10:incompletei0e8:intervali30e12:min intervali10e5:peers0:6:peers60:e

It answers only for torrents that its server names, knows an address only from the connection and never from
the request, and forgets a machine that does not announce again. All tables are bounded: per torrent, and per
address, so that one machine cannot fill them.
"""

from __future__ import annotations

import ipaddress
import random
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from modelfetch.lazy_dataclass import dataclass
from modelfetch.swarm import bencode

INTERVAL: Final = 30
"""Seconds between two announces of a machine: short, so that a run of a minute finds later machines."""
MIN_INTERVAL: Final = 10
"""Seconds before which a machine is not to announce again."""
LIFETIME: Final = 2 * INTERVAL + 15
"""Seconds without an announce after which a machine is forgotten: it missed two."""
MOST_PEERS: Final = 4096
"""Machines of a torrent that are remembered. Of more, the network with the most of them makes room, with the
one that announced longest ago: every machine has all addresses of an IPv6 network of 64 bits."""
MOST_OF_ADDRESS: Final = 64
"""Of them, those with one IP address: several processes of one machine, or machines behind one NAT."""
MOST_GIVEN: Final = 50
"""Machines in an answer: more than a client connects to."""
QUERY_LIMIT: Final = 2048
"""Longest query string in bytes; that of a client has about 300."""
_ID_BYTES: Final = 20
"""Bytes of a peer ID, and of an infohash in an announce (BEP 3)."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A machine of a torrent."""

    compact: bytes
    """Address and port, as in an answer: making it takes longer than all else of an answer."""
    network: bytes
    """What counts as one machine or network: an address, of IPv6 the first 64 bits (RFC 4291, 2.5.1)."""
    is_loopback: bool
    is_seed: bool
    seen: float


_Torrent = OrderedDict[tuple[str, int], _Entry]
"""The machines of a torrent by address and port, the one that announced longest ago first."""


class Tracker:
    """The machines of each torrent. Thread-safe.

    Args:
        infohashes: Returns the infohashes of the torrents that are tracked, in hexadecimal. Called for each
            torrent that is not known yet.
        clock: Monotonic seconds.
        choose: Chooses some of the other machines; random by default.
    """

    def __init__(
        self,
        infohashes: Callable[[], Iterable[str]],
        clock: Callable[[], float],
        choose: Callable[[Sequence[bytes], int], list[bytes]] = random.sample,
    ) -> None:
        self._infohashes = infohashes
        self._clock = clock
        self._choose = choose
        self._lock = threading.Lock()
        self._torrents: dict[bytes, _Torrent] = {}

    def announce(self, query: bytes, client: str) -> bytes:
        """Answer an announce.

        Args:
            query: The query string, percent-encoded.
            client: IP address of the connection.

        Returns:
            The answer, bencoded. A refusal is an answer with a ``failure reason``.
        """
        try:
            return self._announced(_parameters(query), ipaddress.ip_address(client))
        except ValueError as error:
            return bencode.encode({"failure reason": str(error)})

    def _announced(
        self, given: dict[bytes, bytes], address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> bytes:
        infohash = _fixed(given, b"info_hash")
        _fixed(given, b"peer_id")
        port = _number(given, b"port", 1, 65_535)
        is_seed = given.get(b"left") == b"0"
        wanted = min(MOST_GIVEN, _number(given, b"numwant", 0, 1 << 31, MOST_GIVEN))
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        key = str(address), port
        with self._lock:
            torrent = self._torrent(infohash)
            self._forget_old(torrent)
            torrent.pop(key, None)
            if given.get(b"event") != b"stopped":
                self._remember(torrent, key, address, is_seed=is_seed)
            others = [
                entry
                for other, entry in torrent.items()
                # A loopback address given to another machine would lead that to its own services.
                if other != key and (address.is_loopback or not entry.is_loopback)
            ]
        # A machine that has everything needs no other that has everything.
        useful = [entry for entry in others if not (is_seed and entry.is_seed)]
        return self._answer(others, useful, 0 if given.get(b"event") == b"stopped" else wanted)

    def _torrent(self, infohash: bytes) -> _Torrent:
        """Return the machines of a torrent.

        Raises:
            ValueError: The torrent is not tracked here.
        """
        if infohash not in self._torrents:
            known = {bytes.fromhex(each)[:_ID_BYTES] for each in self._infohashes()}
            self._torrents = {each: self._torrents.get(each, OrderedDict()) for each in known}
        if infohash not in self._torrents:
            raise ValueError("this torrent is not tracked here")
        return self._torrents[infohash]

    def _forget_old(self, torrent: _Torrent) -> None:
        while torrent and self._clock() - next(iter(torrent.values())).seen > LIFETIME:
            torrent.popitem(last=False)

    def _remember(
        self,
        torrent: _Torrent,
        key: tuple[str, int],
        address: ipaddress.IPv4Address | ipaddress.IPv6Address,
        *,
        is_seed: bool,
    ) -> None:
        same = [other for other in torrent if other[0] == key[0]]
        if len(same) >= MOST_OF_ADDRESS:
            del torrent[same[0]]
        elif len(torrent) >= MOST_PEERS:
            _make_room(torrent)
        compact = address.packed + key[1].to_bytes(2, "big")
        torrent[key] = _Entry(compact, address.packed[:8], address.is_loopback, is_seed, self._clock())

    def _answer(self, others: Sequence[_Entry], useful: Sequence[_Entry], wanted: int) -> bytes:
        rows = [entry.compact for entry in useful]
        chosen = self._choose(rows, min(wanted, len(rows)))
        seeds = sum(entry.is_seed for entry in others)
        return bencode.encode(
            {
                "complete": seeds,
                "incomplete": len(others) - seeds,
                "interval": INTERVAL,
                "min interval": MIN_INTERVAL,
                "peers": b"".join(row for row in chosen if len(row) == 6),
                "peers6": b"".join(row for row in chosen if len(row) == 18),
            }
        )


def _make_room(torrent: _Torrent) -> None:
    """Forget a machine of the network that has the most of them."""
    [(largest, _)] = Counter(entry.network for entry in torrent.values()).most_common(1)
    del torrent[next(key for key, entry in torrent.items() if entry.network == largest)]


def _parameters(query: bytes) -> dict[bytes, bytes]:
    """Read a query string; the first value of a name counts.

    Raises:
        ValueError: It is too long, or has a broken percent sign.
    """
    if len(query) > QUERY_LIMIT:
        raise ValueError("the request is too long")
    if re.search(rb"%(?![0-9A-Fa-f]{2})", query):
        raise ValueError("the request is malformed")
    found: dict[bytes, bytes] = {}
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        found.setdefault(name, unquote_to_bytes(value))
    return found


def _fixed(given: dict[bytes, bytes], name: bytes) -> bytes:
    """Return a value of 20 bytes.

    Raises:
        ValueError: There is none.
    """
    value = given.get(name, b"")
    if len(value) != _ID_BYTES:
        raise ValueError(f"{name.decode()} must have {_ID_BYTES} bytes")
    return value


def _number(given: dict[bytes, bytes], name: bytes, least: int, most: int, default: int | None = None) -> int:
    """Return a number within bounds.

    Raises:
        ValueError: There is none, and no default.
    """
    text = given.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(rb"[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise ValueError(f"{name.decode()} must be a number from {least} to {most}")
    return int(text)
