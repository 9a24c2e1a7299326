"""Finds the peers of a run: those that the settings name, and those that mDNS finds.

A plan lists the peers of the settings and sends nothing. When files are missing, :meth:`PeerSource.discover`
asks all peers at the same time, in the background, for one missing file of each model. What that tells:

* A machine that does not answer is not asked again in this run. So all files together wait for it once, and
  for :data:`SEARCH_SECONDS` at most.
* A server that uses the cache of this run is not asked: what is missing here is missing there.
* A peer that has that file, or will have it soon, probably has others of the model. Only then it is asked for
  its small files, until it lacks one: a hundred of them would otherwise cost a hundred requests to each peer
  in vain. Large files are asked for in any case: beside their bytes, a request costs nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import Fault, SourceError
from modelfetch.model.source_kinds import SourceKind
from modelfetch.model.text import sanitize
from modelfetch.sources.base import HostAddress, Offer, RegisteredSource, SourceContext
from modelfetch.sources.peer import (
    CONNECT_SECONDS,
    LEAST_SPEED,
    SILENCE_SECONDS,
    ModelKey,
    Peer,
    PeerOffer,
    key_of_model,
)
from modelfetch.store.instance import instance_of
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client
    from modelfetch.settings import Settings
    from modelfetch.sources.ipfs_content import BlockCache

SEARCH_SECONDS: Final = 2.5
"""Seconds that a run waits for the first answers of its peers: a second at most to find them, and for all of
them together :data:`~modelfetch.sources.peer.CONNECT_SECONDS`. A peer that answers later is asked for the
files that begin later."""
LOOK_SECONDS: Final = 0.05
"""Seconds between two checks whether the run was cancelled, during that wait."""
SMALL: Final = 1024 * 1024
"""Largest size in bytes of a small file: those are fetched in batches (:mod:`modelfetch.engine.batch`)."""
MOST_MODELS: Final = 64
"""Most models of a run for whose files the peers are asked beforehand."""
MOST_PEERS: Final = 32
"""Most peers of a run. Each is asked for each large file, so more would only cost time."""
THREAD_NAME: Final = "modelfetch-peer"

Place = tuple["Manifest", "FileSpec"]
Find = Callable[[], Sequence[Peer]]
"""Returns the peers that mDNS finds."""


class PeerSource(RegisteredSource):
    """The peers of a run. Thread-safe.

    Args:
        client: For machines of the local network.
        named: Addresses of the settings.
        own: Returns the name of the cache of this run, which changes when the run makes the cache.
        find: Finds peers in the network; None if that is turned off.
        notice: Receives a line about each named peer that does not answer.
        clock: Monotonic seconds.
        cancel: Ends the wait for the peers.
    """

    kind = SourceKind.PEER

    def __init__(
        self,
        client: Client,
        named: Sequence[str],
        own: Callable[[], str],
        find: Find | None = None,
        notice: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        cancel: Cancellation | None = None,
    ) -> None:
        self._client = client
        self._peers = [Peer(address, is_named=True) for address in named]
        """Replaced as a whole when others were found."""
        self._own = own
        self._find = find
        self._notice = notice
        self._clock = clock
        self._cancel = cancel or Cancellation()
        self._lock = threading.Lock()
        self._directories: BlockCache | None = None
        """Blocks of directories of the run, made with the first offer that needs them."""
        self._is_searching = False
        self._until = 0.0
        self._is_over = threading.Event()
        """Set when each peer has answered or failed."""
        self._told: set[str] = set()
        """Hosts of the named peers about which a notice was given."""

    @classmethod
    def from_context(cls, context: SourceContext) -> PeerSource:
        """Use the peers of the settings and, if ``lan.enabled`` is set, those that are found."""
        settings = context.loaded.settings

        def find() -> Sequence[Peer]:
            return found_peers(context.notice)

        return cls(
            context.client.nearby(CONNECT_SECONDS, SILENCE_SECONDS, LEAST_SPEED),
            settings.sources.peers,
            partial(instance_of, context.store.root),
            find if settings.lan.enabled else None,
            context.notice,
            cancel=context.cancel,
        )

    @classmethod
    def configured_hosts(cls, settings: Settings) -> Iterator[HostAddress]:
        """The peers of the settings."""
        return map(HostAddress.root_of, settings.sources.peers)

    def discover(self, places: Sequence[Place]) -> None:
        """Ask all peers in the background for files of each model; returns at once.

        Args:
            places: The missing files, each with its model.
        """
        samples = dict(list(_samples(places).items())[:MOST_MODELS])
        self._is_searching, self._until = True, self._clock() + SEARCH_SECONDS
        if start(lambda: self._search(samples), THREAD_NAME) is None:
            self._is_over.set()

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer for each peer that may have the file."""
        if self._is_searching:
            self._wait_for_answers()
        model = key_of_model(manifest)
        peers = [*_distinct([peer for peer in self._peers if self._is_asked(peer, model, file)])]
        if peers and self._is_searching and file.size > SMALL and (file.cid or manifest.ipfs_cid):
            return self._proving_offers(peers, manifest, file)
        return [PeerOffer(peer, manifest, file, self._client, self._own) for peer in peers]

    def _wait_for_answers(self) -> None:
        """Wait until each peer has answered or failed, or the time for that is over."""
        while not self._is_over.is_set():
            if self._clock() >= self._until:
                # A name that no server of names knows can take longer than the whole search.
                for peer in self._peers:
                    if not (peer.has_answered or peer.is_out):
                        self._tell(peer, "has not answered in time; the run goes on without it")
                return
            self._is_over.wait(LOOK_SECONDS)
            self._cancel.raise_if_cancelled()

    def _tell(self, peer: Peer, what: str) -> None:
        """Give a notice about a peer that the settings name, once in a run."""
        with self._lock:
            if not peer.is_named or peer.host in self._told:
                return
            self._told.add(peer.host)
        self._notice(f"peer {peer.host} {what}")

    def _proving_offers(self, peers: Sequence[Peer], manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer for each peer, whose CID proves the chunks of the file."""
        # Late, as it loads the reader of trees: few files have a CID.
        from modelfetch.sources.ipfs_content import BlockCache
        from modelfetch.sources.peer_table import ProvingPeerOffer, table_of

        with self._lock:
            self._directories = self._directories or BlockCache()
        table = table_of(manifest, file, peers, self._client, self._directories)
        if table is None:
            return [PeerOffer(peer, manifest, file, self._client, self._own) for peer in peers]
        return [ProvingPeerOffer(peer, manifest, file, self._client, self._own, table) for peer in peers]

    def _is_asked(self, peer: Peer, model: ModelKey, file: FileSpec) -> bool:
        if not self._is_searching:
            return True  # for a plan, which sends nothing
        is_there = peer.has_answered and not peer.is_out
        return is_there and (file.size > SMALL or model in peer.models)

    def _search(self, samples: dict[ModelKey, Place]) -> None:
        try:
            threads = self._ask_all(self._peers, samples)
            known = {peer.host for peer in self._peers}
            found = [peer for peer in self._find() if peer.host not in known] if self._find else []
            found = [peer for peer in found if peer.instance != self._own()][:MOST_PEERS]
            self._peers = [*self._peers, *found]
            for thread in [*threads, *self._ask_all(found, samples)]:
                thread.join()
        finally:
            self._is_over.set()

    def _ask_all(self, peers: Sequence[Peer], samples: dict[ModelKey, Place]) -> list[threading.Thread]:
        threads = (start(lambda peer=peer: self._ask(peer, samples), THREAD_NAME) for peer in peers)  # type: ignore[misc]
        return [thread for thread in threads if thread is not None]

    def _ask(self, peer: Peer, samples: dict[ModelKey, Place]) -> None:
        """Ask one peer for a file of each model."""
        for model, (manifest, file) in samples.items():
            if peer.is_out:
                return
            offer = PeerOffer(peer, manifest, file, self._client, self._own)
            try:
                if offer.ask().state != "lacks":  # one that still hashes or fetches the file may have others
                    peer.may_have(model)
            except SourceError as error:
                peer.is_out = True
                self._tell(peer, f"is left out: {error.message}{advice(peer.url, error)}")
            except Cancelled:
                return


def advice(url: str, error: SourceError) -> str:
    """Return what may be wrong with the address of a peer that failed, to follow the failure; may be empty.

    Whether a server uses TLS, and its port, cannot be seen in ``nas``, which stands for ``http://nas:8765``.
    """
    if url.startswith("http://"):
        return "; if it uses TLS, write https:// and its port" if error.fault is Fault.CUT else ""
    if error.fault is Fault.CONNECT and urlsplit(url).port is None:
        return "; its port is taken to be 443, as none is named"
    is_plain = error.fault is Fault.TLS and "certificate" not in error.message
    return "; if it does not use TLS, write http://" if is_plain else ""


def found_peers(notice: Callable[[str], None]) -> Sequence[Peer]:
    """Return the peers that mDNS finds.

    Args:
        notice: Receives a line if the package that this needs is missing.
    """
    from modelfetch.net.mdns import MISSING, MdnsMissing, browse

    try:
        return [Peer(each.url, each.instance) for each in browse()]
    except MdnsMissing:
        notice(MISSING)
    except Exception as error:  # whatever the network and the package do, the run goes on
        why = sanitize(str(error)) or type(error).__name__
        notice(f"the local network cannot be asked for peers: {why}")
    return []


def _samples(places: Sequence[Place]) -> dict[ModelKey, Place]:
    """Return the largest missing file of each model: it is the last that a machine would do without."""
    samples: dict[ModelKey, Place] = {}
    for manifest, file in places:
        key = key_of_model(manifest)
        if key not in samples or samples[key][1].size < file.size:
            samples[key] = manifest, file
    return samples


def _distinct(peers: Sequence[Peer]) -> Iterator[Peer]:
    """Yield each machine that the settings name once: it may be found by another address, too.

    A machine that was found hides no other one, as any may claim the name of any. Nor does a named one that
    does not answer.
    """
    seen: set[str] = set()
    for peer in peers:
        if peer.instance in seen:
            continue
        if peer.instance and peer.is_named:
            seen.add(peer.instance)
        yield peer
