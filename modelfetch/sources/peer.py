"""Peers: machines of the local network that share their caches (``modelfetch serve --share``).

A peer is asked for a file by its SHA-256, ``GET /blobs/sha256/<hex>``, so it can have any file of any model.
Before bytes are requested it is asked whether it has them, with one byte of the file and ``Prefer:
respond-async, wait=N`` (RFC 7240). Its answers::

    206, Content-Range: bytes 0-0/500    it has the file, of this size
    202, {"received": 100, "size": 500, "begun": 3.5}   a process of that machine is fetching the file;
                                         with "available", these ranges of it can be requested already
    404                                  it has nothing of it

With ``wait=N`` a peer that is fetching the file holds its answer back for up to N seconds, until it has it.
Each answer of a peer names its cache (:mod:`modelfetch.store.instance`). Two machines that fetch the same
file at the same time compare these names: see :meth:`PeerAnswer.leads`.

A peer supplies bytes, which are verified like those of any source. It gets no credentials, but those in its
own address in ``sources.peers``, and names no other host: redirects to other origins are refused.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

from modelfetch.errors import Fault, SourceError
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.credentials import split_credential
from modelfetch.net.responses import ALLOW_HOST, UNKNOWN_NAME
from modelfetch.net.urls import host_of
from modelfetch.sources.base import HttpOffer
from modelfetch.store.in_progress import MOST_RANGES
from modelfetch.store.instance import is_instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.answers import Answer
    from modelfetch.net.client import Client
    from modelfetch.sources.base import Stream

CONNECT_SECONDS: Final = 1.5
"""Seconds to connect to a peer. In a local network a connection takes milliseconds; one lost packet is sent
again after a second (RFC 6298), so a machine that is there answers within that time."""
SILENCE_SECONDS: Final = 10.0
"""Seconds without a byte after which a peer has failed: one that was switched off closes no connection, and
one that said that it has the file needs no time to find it."""
LEAST_SPEED: Final = 64 * 1024
"""Bytes per second below which a connection to a peer has failed. A hostile one, that mDNS found, could
otherwise hold a file for hours with the least speed of a source in the internet, while others are fast."""
ANSWER_SECONDS: Final = 1.5
"""Seconds for the answer whether a peer has a file, besides those that it was asked to wait; as long again
for the document of that answer."""
SLOW_SECONDS: Final = 0.75
"""Seconds after which an answer counts as late: every file waits for the answers of all peers."""
MOST_SLOW: Final = 4
"""Late answers after which a peer is not asked any more in this run."""
DOCUMENT_BYTES: Final = 4096
"""Most bytes read of an answer without bytes of a file; ours have about 60, and 2 kB with all ranges."""
INSTANCE_FIELD: Final = "X-Modelfetch-Instance"
"""Header field in which a server names the cache that it shares (:mod:`modelfetch.store.instance`)."""
LONGEST: Final = 1e9
"""Most seconds since which a peer may fetch a file, some thirty years; also rules out NaN."""

_LATE: Final = frozenset({Fault.CONNECT, Fault.TIMEOUT, Fault.STALL})
"""Faults for which the limit of a first byte may be the only reason."""
_SILENT: Final = frozenset({Fault.CONNECT, Fault.TIMEOUT, Fault.TLS, Fault.REDIRECT})
"""Faults of a machine that is not there, or is no peer; it is not asked for another file."""

_REFUSALS: Final = {
    401: "access refused (401); does it run `modelfetch serve --share`?",
    421: f"{UNKNOWN_NAME}; {ALLOW_HOST}",
}
"""What a server answers to every path without ``--share``, and under a name that is not its own."""

State = Literal["has", "fetching", "lacks"]


class PeerAnswer(NamedTuple):
    """The answer of a peer to the question whether it has a file."""

    state: State
    received: int = 0
    """Bytes that the peer has of a file that it is fetching."""
    begun: float | None = None
    """Seconds since the peer began to fetch the file; None while it asks other machines who has it."""
    leads: bool = False
    """Whether the peer, and not this machine, fetches the file if both ask who has it. Both come to the same
    result, because it follows from the digest and the names of both caches."""
    available: tuple[tuple[int, int], ...] = ()
    """Start and end of the ranges that it sends already, while it is fetching the rest; in order."""


@runtime_checkable
class Askable(Protocol):
    """An offer that can be asked whether it has the file, without requesting it."""

    def ask(self, wait: float = 0.0) -> PeerAnswer:
        """Ask.

        Args:
            wait: Seconds for which the answer may be held back while the file is being fetched there.

        Raises:
            SourceError: There was no answer.
            Cancelled: The run was cancelled.
        """

    def stop_waiting(self) -> None:
        """Note that the place was waited for in vain; it is not waited for again, for no file."""


def leads(sha256: str, own: str, other: str) -> bool:
    """Return whether another machine fetches a file, and not this one, if both ask who has it.

    By rendezvous hashing: for each file another machine may lead, so that the machines that start at the same
    time share the files of a model between them.

    Args:
        sha256: Digest of the file.
        own: Name of the cache of this machine.
        other: Name of the cache of the other one; if it is no such name, this machine leads.
    """
    return is_instance(other) and (_rank(sha256, other), other) > (_rank(sha256, own), own)


def _rank(sha256: str, instance: str) -> bytes:
    return hashlib.sha256(f"{sha256} {instance}".encode()).digest()


ModelKey = tuple[str, str]
"""Name and identity of a model."""


def key_of_model(manifest: Manifest) -> ModelKey:
    """Return the key of a model in :attr:`Peer.models`."""
    return manifest.name, manifest.identity


class Peer:
    """One machine, and what a run has learned about it. Shared by threads.

    Each field is replaced at once, and under a lock where the new value follows from the old one.

    Args:
        address: Its address, which may have a user name and password.
        instance: The name of its cache, if an announcement stated it.
        is_named: Whether the settings name it.

    Attributes:
        url: Its address without credentials.
        host: The host for display and statistics.
        has_answered: Whether it answered in this run.
        is_slow: Whether it was waited for in vain, so that it is not waited for again.
        is_out: Whether it is not asked any more: it cannot be reached, or it serves the cache of this run.
        models: The models of which it has a file, or will have it soon, and has lacked none since.
    """

    def __init__(self, address: str, instance: str = "", *, is_named: bool = False) -> None:
        self.url, self.credential = split_credential(address)
        self.host = host_of(self.url)
        self.instance = instance
        self.is_named = is_named
        self.has_answered = False
        self.is_slow = False
        self.is_out = False
        self._lock = threading.Lock()  # for changes of the two below
        self._slow_answers = 0
        self.models: frozenset[ModelKey] = frozenset()

    def may_have(self, model: ModelKey) -> None:
        """Note that it has a file of a model, or will have it soon, and so probably has others."""
        with self._lock:
            self.models |= {model}

    def note_slow_answer(self) -> None:
        """Note that an answer came late; after some of them the others are not waited for."""
        with self._lock:
            self._slow_answers += 1
            if self._slow_answers >= MOST_SLOW:
                self.is_out = True

    def lacks(self, model: ModelKey) -> None:
        """Note that it lacks a file of a model."""
        with self._lock:
            self.models -= {model}


class PeerOffer(HttpOffer):
    """A file at a peer.

    Args:
        peer: The peer.
        manifest: A model that has the file.
        file: The file.
        client: For machines of the local network.
        own: Returns the name of the cache of this run, which changes when the run makes the cache.
    """

    def __init__(
        self, peer: Peer, manifest: Manifest, file: FileSpec, client: Client, own: Callable[[], str]
    ) -> None:
        url = f"{peer.url}/blobs/sha256/{file.sha256}"
        super().__init__(SourceKind.PEER, url, file.size, client, peer.credential)
        self._peer = peer
        self._model = key_of_model(manifest)
        self._sha256 = file.sha256
        self._own = own

    def ask(self, wait: float = 0.0) -> PeerAnswer:
        """Ask whether the peer has the file; see :meth:`Askable.ask`."""
        headers = {"Range": "bytes=0-0", "Prefer": f"respond-async, wait={wait:.0f}"}
        began = time.monotonic()
        try:
            with self._send(
                lambda credential: self._client.open(
                    self.address, headers, credential, first_byte=ANSWER_SECONDS + wait
                )
            ) as answer:
                return self._judge(answer)
        except SourceError as error:
            self._note(error)
            raise
        finally:
            # One that may be held back is waited for in any case, as long as the peer makes progress.
            if not wait and time.monotonic() - began > SLOW_SECONDS:
                self._peer.note_slow_answer()

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        """Request bytes of the file; see :meth:`.Offer.open`."""
        try:
            return super().open(offset, end, first_byte)
        except SourceError as error:
            # A batch gives a new connection little time, and asks again over one that has the time of a peer.
            if first_byte is None or error.fault not in _LATE:
                self._note(error)
            raise

    def stop_waiting(self) -> None:
        """Do not wait for this peer again; see :meth:`Askable.stop_waiting`."""
        self._peer.is_slow = True

    def _note(self, error: SourceError) -> None:
        """Note what a failure says about the peer."""
        if error.fault in _SILENT:
            self._peer.is_out = True
        else:
            self._peer.lacks(self._model)

    def _judge(self, answer: Answer) -> PeerAnswer:
        """Read an answer. Nothing in it is trusted: a false one costs a request, or a limited wait."""
        self._peer.has_answered = True
        body = _document(answer)
        instance = answer.headers.get(INSTANCE_FIELD.lower(), "")
        if is_instance(instance):
            self._peer.instance = instance
        if self._peer.instance == self._own():
            self._peer.is_out = True
            return PeerAnswer("lacks")
        match answer.status:
            case 206 | 200 if _total(answer) == self._size:
                return PeerAnswer("has")
            case 202:
                return self._fetching(body)
            case 401 | 421:  # for every file, and for a reason that only its owner can remove
                raise SourceError(Fault.AUTHORIZATION, _REFUSALS[answer.status])
            case 403 | 429 | 503:  # the request for the bytes meets the same answer, and reports it
                return PeerAnswer("has")
            case _:
                return PeerAnswer("lacks")

    def _fetching(self, body: bytes) -> PeerAnswer:
        progress = None if self._peer.is_slow else _progress(body, self._size)
        if progress is None:
            return PeerAnswer("lacks")
        return progress._replace(leads=leads(self._sha256, self._own(), self._peer.instance))


def _document(answer: Answer) -> bytes:
    """Read the body, to its end where it is short, so that the connection is kept; empty if it is of no use.

    Raises:
        SourceError: It does not arrive in time.
    """
    try:
        return answer.read_within(ANSWER_SECONDS, DOCUMENT_BYTES)
    except SourceError as error:
        if error.fault is Fault.STALL:
            raise SourceError(Fault.TIMEOUT, "no answer in time") from error
        return b""


def _total(answer: Answer) -> int | None:
    """Return the size of the file that an answer states; None if it states none."""
    if answer.status == 200:
        return answer.length
    total = answer.headers.get("content-range", "").rpartition("/")[2].strip()
    return int(total) if total.isascii() and total.isdigit() and len(total) < 20 else None


def _progress(body: bytes, size: int) -> PeerAnswer | None:
    """Read how far a peer is; None if the document is not about this file."""
    try:
        document: Any = json.loads(body)
        received, stated, begun = document["received"], document["size"], document.get("begun")
        available = document.get("available")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if type(received) is not int or type(stated) is not int or stated not in (0, size):
        return None
    if not 0 <= received <= size:
        return None
    is_time = type(begun) in (int, float) and 0 <= begun < LONGEST
    if begun is not None and not is_time:
        return None
    return PeerAnswer(
        "fetching", received, float(begun) if is_time else None, available=_ranges(available, size)
    )


def _ranges(found: Any, size: int) -> tuple[tuple[int, int], ...]:
    """Read the ranges that a peer sends already; none if they are not ranges of this file in order."""
    if not isinstance(found, list) or len(found) > MOST_RANGES:
        return ()
    ranges: list[tuple[int, int]] = []
    behind = 0
    for each in found:
        if not isinstance(each, list) or len(each) != 2 or any(type(edge) is not int for edge in each):
            return ()
        start, end = each
        if not behind <= start < end <= size:
            return ()
        ranges.append((start, end))
        behind = end
    return tuple(ranges)
