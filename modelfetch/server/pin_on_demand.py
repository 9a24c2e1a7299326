"""Pins what clients name (``serve --share --fetch --pin-on-demand``): of Hugging Face, and of registries.

A repository that no catalog pins is resolved to a commit, listed, and written into the user's catalog, as
``modelfetch add`` does. Its files are then fetched as those of any other model::

    org/repo @ main         ->  org--repo.toml                                ref = "hf:org/repo"
    org/repo @ v1           ->  org--repo--v1.toml                            ref = "hf:org/repo@v1"
    datasets/org/data       ->  datasets--org--data.toml
    ghcr.io/org/model : v1  ->  ghcr.io--org--model--v1--94a5677108e8.toml    ref = "oci:ghcr.io/org/model:v1"

``main`` stays at the commit that it had then, and a tag at its digest, until the operator runs ``modelfetch
upgrade``. Nothing else that a client names decides what they are: see :mod:`modelfetch.share.on_demand`.

The clients have no token, so what they can cause is limited:

- only what is public is pinned. The operator's token and logins are not used: they would give every client
  what only the operator may read. Gated repositories are refused, as their terms are accepted by persons;
- patterns (``--pin-only``) say what is allowed. No registry is asked that none of them names
  (:mod:`modelfetch.server.pin_patterns`);
- the Hub is not one that only the file of a project names, which lies in the working directory of the server;
- a request follows no redirect into a private network;
- one repository is resolved at a time, within :data:`PIN_SECONDS`, and :data:`MAX_PINS` in an hour.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import (
    AuthorizationError,
    ConfigError,
    ManifestError,
    ModelfetchError,
    OfflineError,
    StoreError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.lazy_dataclass import replace
from modelfetch.model.reference import OciReference
from modelfetch.model.text import sanitize
from modelfetch.server.client_limit import network_of
from modelfetch.server.error_responses import Refusal
from modelfetch.server.pin_patterns import PinPatterns
from modelfetch.server.pull_results import (
    DiskReports,
    check_room,
    disk_failed,
    disk_full,
    origin_failed,
    origin_offline,
    stopping,
    unreadable,
    wrong_settings,
)
from modelfetch.server.timed_work import TimedWork
from modelfetch.share.on_demand import on_demand_name
from modelfetch.store.disk_errors import is_full

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from modelfetch.model.reference import Reference
    from modelfetch.server.runner import ServerWorkspace
    from modelfetch.share.on_demand import Named
    from modelfetch.store import Store
    from modelfetch.upstreams.base import Listing, Upstream, UpstreamFile
    from modelfetch.workspace import Workspace

PIN_SECONDS: Final = 120.0
"""Seconds that resolving a repository may take, as for models that are added over HTTP."""
MAX_PINS: Final = 60
"""Repositories resolved in an hour, found or not: enough for a lab, and few enough for the Hub."""
MAX_PINS_OF_ONE: Final = 20
"""The same for one client address."""
WINDOW_SECONDS: Final = 3600.0
"""Seconds for which a repository counts against these two: the hour that they are limits of."""
CATALOG_BYTES: Final = 16 << 20
"""Bytes of the manifests of all repositories that clients had pinned: some 4,000 of 30 files. The tables of
the server take fifteen times as much memory (measured with 20,000 files in a manifest)."""
UNKNOWN_SECONDS: Final = 60.0
"""Seconds for which a repository that cannot be pinned is not asked for again."""
_MOST_UNKNOWN: Final = 1024
"""Such repositories that are remembered: more than :data:`MAX_PINS`, so none is forgotten before its
time. Those whose time is over go when there is no room for another one."""


class PinOnDemand:
    """Pins repositories and artifacts. Thread-safe.

    Args:
        workspace: Settings and catalogs; read again for each repository.
        only: Patterns of what is allowed; see :class:`modelfetch.server.pin_patterns.PinPatterns`.
        seconds: Time limit for one repository.
        clock: Monotonic seconds.

    Attributes:
        disk_reports: Tells the operator why nothing can be stored.
    """

    def __init__(
        self,
        workspace: ServerWorkspace,
        only: Sequence[str] = (),
        *,
        seconds: float = PIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspace = workspace
        self._only = PinPatterns(only)
        self._work = TimedWork(seconds)
        self._clock = clock
        self.disk_reports: Final = DiskReports(clock)
        self._lock = threading.Lock()
        """Protects the fields below, and is held while one repository is resolved."""
        self._asked: deque[tuple[float, str]] = deque()
        """When a repository was resolved, and for which client address, within the last hour."""
        self._unknown: dict[Named, float] = {}
        """Until when a repository is not asked for again."""

    def stop(self) -> None:
        """End what is in progress, because the server stops."""
        self._work.stop()

    def pin(self, client: str, wanted: Named) -> bool:
        """Pin a repository at a revision, and write it into the user's catalog; this may take long.

        Args:
            client: Address of the client.
            wanted: What it named.

        Returns:
            Whether it is pinned now; False if there is no such public repository, or it is not allowed.

        Raises:
            Refusal: The limit is reached, the Hub or the registry cannot be reached, or this server has wrong
                settings or a disk that fails.
        """
        if not self._only.allow(wanted):
            return False
        client = network_of(client)
        with self._lock:
            now = self._clock()
            if self._unknown.get(wanted, now) > now:
                return False
            self._count(client, now)
            is_pinned = self._pin(wanted)
            if not is_pinned:
                self._remember_unknown(wanted)
            return is_pinned

    def is_refused(self, wanted: Named) -> bool:
        """Whether :meth:`pin` would return False at once: not allowed, or not found a moment ago."""
        return not self._only.allow(wanted) or self._unknown.get(wanted, float("-inf")) > self._clock()

    def _count(self, client: str, now: float) -> None:
        """Count one more repository for a client.

        Raises:
            Refusal: Too many were resolved within the last hour.
        """
        while self._asked and self._asked[0][0] <= now - WINDOW_SECONDS:
            self._asked.popleft()
        of_one = Counter(address for _, address in self._asked)[client]
        if len(self._asked) >= MAX_PINS or of_one >= MAX_PINS_OF_ONE:
            first = next(at for at, address in self._asked if of_one < MAX_PINS_OF_ONE or address == client)
            wait = {"Retry-After": str(int(first + WINDOW_SECONDS - now) + 1)}
            message = "too many new repositories were asked for within an hour"
            hint = "The operator of this server can add it with `modelfetch add`."
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "pin_limit", message, hint, wait)
        self._asked.append((now, client))

    def _remember_unknown(self, wanted: Named) -> None:
        while len(self._unknown) >= _MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[wanted] = self._clock() + UNKNOWN_SECONDS

    def _pin(self, wanted: Named) -> bool:
        with self._work.running() as cancel:
            try:
                return _write(self._workspace.load(), wanted, cancel)
            except ConfigError as error:  # not a fact about the repository, and soon corrected
                raise wrong_settings() from error
            except (UnknownModelError, AuthorizationError, UsageError):
                return False
            except Cancelled:
                raise self._ended() from None
            except ModelfetchError as error:
                if cancel.cancelled:
                    raise self._ended() from error
                if isinstance(error, StoreError):  # no job fails that would have the reason
                    self.disk_reports.tell(error.message)
                raise _refusal(error, wanted) from error

    def _ended(self) -> Refusal:
        if self._work.is_stopping:
            return stopping()
        message = "the repository could not be listed in time"
        return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "too_long", message)


def _write(workspace: Workspace, wanted: Named, cancel: Cancellation) -> bool:
    """Resolve a repository and write its manifest; False if another pin has its name."""
    from modelfetch.pins.catalogs import NameTakenError, user_catalog, write_pin
    from modelfetch.pins.outdated import record_pinned
    from modelfetch.pins.pin import PinRequest
    from modelfetch.pins.session import open_session
    from modelfetch.upstreams.oci import repository_of

    _check_catalog(user_catalog(workspace))
    if not isinstance(wanted, OciReference) and _is_projects_hub(workspace):
        raise origin_failed("the address of the Hub is in the file of a project, which decides no pins")
    # Without the operator's credentials: see the description of this module.
    anonymous = replace(workspace, loaded=workspace.loaded.anonymous())
    # A pattern names the registry, so it may be one of the operator's own network.
    registry = (
        [repository_of(wanted.registry, wanted.repository).endpoint]
        if isinstance(wanted, OciReference)
        else []
    )
    # All files, also of a repository with several variants of one model: each client takes those it needs.
    name = on_demand_name(wanted)
    request = PinRequest((wanted,), name, include=("*",))
    try:
        with open_session(anonymous, cancel=cancel, public_only=True, named=registry) as session:
            upstream_for = session.upstream_for
            public = replace(
                session, upstream_for=lambda asked: _PublicOnly(upstream_for(asked), workspace.store)
            )
            pin = public.pin(request)
        write_pin(pin.manifest, user_catalog(workspace))
    except NameTakenError:
        return _pins(user_catalog(workspace) / f"{name}.toml", wanted)
    record_pinned(workspace, pin.manifest)
    return True


def _pins(path: Path, wanted: Named) -> bool:
    """Whether a manifest pins what a client named: another server of this catalog was quicker."""
    from modelfetch.model.parse import load_manifest

    try:
        found = load_manifest(path)
    except ManifestError:
        return False
    return found.upstream is not None and found.upstream.ref == wanted.text


def _check_catalog(catalog: Path) -> None:
    """Check that clients have not pinned so much that the catalog becomes a burden.

    Raises:
        Refusal: They have, or the catalog cannot be listed.
    """
    try:
        paths = list(catalog.iterdir()) if catalog.exists() else []
    except OSError as error:
        raise unreadable("catalog") from error
    taken = 0
    for path in paths:
        if path.match("*--*.toml"):  # see `on_demand_name`; few operators give such names
            with suppress(OSError):
                taken += path.lstat().st_size
    if taken >= CATALOG_BYTES:
        message = "too many repositories were pinned for clients"
        hint = "The operator of this server can remove some with `modelfetch remove NAME --unpin`."
        wait = {"Retry-After": str(int(WINDOW_SECONDS))}
        raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "pin_limit", message, hint, wait)


def _is_projects_hub(workspace: Workspace) -> bool:
    """Whether only the file of a project names the Hub.

    A project may say where bytes come from, because digests decide. Here the Hub states the digests.
    """
    loaded = workspace.loaded
    return loaded.origins["huggingface.endpoint"] == f"project file {sanitize(str(loaded.project_file))}"


class _PublicOnly:
    """An upstream whose gated and renamed repositories are refused, and those that would fill the disk.

    Clients would not find a repository under the name that they know: the manifest pins the new one.
    """

    def __init__(self, upstream: Upstream, store: Store) -> None:
        self._upstream = upstream
        self._store = store

    def resolve(self, reference: Reference) -> Listing:
        """See :meth:`modelfetch.upstreams.base.Upstream.resolve`.

        Raises:
            AuthorizationError: The repository is gated.
            UnknownModelError: It has another name.
            StoreError: The disk has no room for the files that are read for their digests, and kept.
        """
        listing = self._upstream.resolve(reference)
        if listing.reference != reference:
            raise UnknownModelError(f"{reference.text} has another name: {listing.reference.text}")
        if listing.is_gated:
            raise AuthorizationError(f"{reference.text} is gated")
        needed = sum(file.size or 0 for file in listing.files if not file.sha256)
        check_room(self._store, needed)
        return listing

    def open(self, file: UpstreamFile) -> AbstractContextManager[Iterator[bytes]]:
        """See :meth:`modelfetch.upstreams.base.Upstream.open`."""
        return self._upstream.open(file)


def _refusal(error: ModelfetchError, wanted: Named) -> Refusal:
    if isinstance(error, OfflineError):
        return origin_offline()
    if isinstance(error, StoreError):
        return disk_full() if is_full(error) else disk_failed()
    if isinstance(error, UnavailableError):
        who = "registry" if isinstance(wanted, OciReference) else "Hub"
        return origin_failed(f"the {who} cannot be reached, or its answer cannot be pinned")
    return origin_failed("the repository cannot be pinned")
