"""Makes the runtime of a run from settings and options: sources, their order, and limits.

The order of the kinds of source comes from ``sources.order``, ``--prefer``, ``--only`` and ``--offline``; see
:func:`source_order`. Within a kind, hosts are ordered by their history.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Final, cast

from modelfetch.engine.known_digests import HistoryDigests
from modelfetch.engine.rate_limit import Allowance
from modelfetch.engine.runtime import Absent, Discover, Opened, Rank, Runtime, unobserved
from modelfetch.engine.segments import SplitPolicy
from modelfetch.engine.workers import affordable
from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.source_kinds import SourceKind
from modelfetch.model.text import did_you_mean, quote, sanitize
from modelfetch.net.client import Client
from modelfetch.net.retry import RetryPolicy
from modelfetch.net.time_limits import Limits
from modelfetch.notices import Notices
from modelfetch.settings import SETTINGS
from modelfetch.settings.types import Address, Addresses
from modelfetch.sources.base import Offer, Source, SourceContext
from modelfetch.sources.registry import make_sources
from modelfetch.store import Store
from modelfetch.store.dir_handles import limit

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.engine.swarm_protocols import RunSwarm
    from modelfetch.history import Health, Miss
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.settings import Loaded, Setting, Settings
    from modelfetch.settings.values import Network


HISTORY_WAIT = 0.2
"""Seconds to wait for the history database. Without it hosts keep the order of the settings; a better order
is not worth a longer wait."""


_OFFLINE: Final = frozenset(kind.value for kind in SourceKind if not kind.needs_network)
"""Kinds of source that remain with ``--offline``."""
_ALLOWANCE = Allowance()
"""Shared by all runs of this process, because the jobs of a server share one link."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of one run that are not settings."""

    offline: bool = False
    prefer: str | None = None
    """Kind of source to ask first."""
    only: tuple[str, ...] = ()
    """Kinds of source that may be used; empty means all configured ones."""
    timeout: float | None = None
    """Seconds for the whole run."""
    lock_timeout: float | None = None
    """Seconds to wait for a lock of another process."""
    connections: int | None = None
    """Most connections to one file, instead of the configured number."""
    name: str = ""
    """Name of the run, shown to processes that wait for its locks."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What other parts of the program attach to a run; not for users of the Python interface."""

    opened: Opened = unobserved
    """Observes the files that are fetched."""
    swarm: RunSwarm | None = None
    """A swarm that the caller has opened, and closes."""
    opens_swarm: bool = False
    """Whether the run opens a swarm of its own if it is enabled and ``swarm`` is None."""


def assemble(
    loaded: Loaded,
    options: RunOptions,
    cancel: Cancellation,
    *,
    attached: Attached | None = None,
    foreign: Collection[str] = (),
    notices: Notices | None = None,
) -> Runtime:
    """Make the runtime of one run.

    Args:
        loaded: The settings.
        options: Of the run.
        cancel: Cancels the run.
        attached: Of other parts of the program.
        foreign: Names of the models that a project's catalog describes.
        notices: Receives notices for the user.

    Raises:
        UsageError: ``prefer`` or ``only`` names no kind of source.
    """
    notices, attached = notices or Notices(), attached or Attached()
    store = Store(
        loaded.cache_dir,
        fsync=loaded.settings.cache.fsync,
        notices=notices,
        chunk_maps=loaded.settings.cache.chunk_maps,
    )
    client = Client(_limits(loaded.settings.network), cancel)
    days = loaded.settings.history.days
    digests = HistoryDigests(loaded.cache_dir, days, cancel) if days else None
    context = SourceContext(loaded, client, store, cancel, digests, notices.add)
    made = make_sources(context)
    available = _watched(made, loaded, foreign, notices)
    order = source_order(loaded.settings.sources.order, options, list(available))
    peers = made[SourceKind.PEER]
    discover = peers.discover if peers.is_used and peers.kind in order else None
    own = _own_swarm(context, options) if attached.swarm is None and attached.opens_swarm else None
    swarm = None if options.offline else attached.swarm or own
    close = _closing(client, digests, own)
    attached = replace(attached, swarm=swarm)
    return _runtime(context, options, [available[kind] for kind in order], close, discover, attached)


def _own_swarm(context: SourceContext, options: RunOptions) -> RunSwarm | None:
    """Open a swarm for this run alone, if it is enabled."""
    if not context.loaded.settings.swarm.enabled:
        return None
    from modelfetch.engine.swarm_setup import open_for_run

    loaded, store = context.loaded, context.store
    return open_for_run(loaded, store, context.notice, offline=options.offline, only=options.only)


def _runtime(
    context: SourceContext,
    options: RunOptions,
    sources: Sequence[Source],
    close: Callable[[], None],
    discover: Discover | None,
    attached: Attached,
) -> Runtime:
    """Return a runtime with these parts, and with the limits that settings and options give."""
    loaded, cancel = context.loaded, context.cancel
    network, retry = loaded.settings.network, loaded.settings.retry
    return Runtime(
        store=context.store,
        sources=sources,
        cancel=cancel,
        retry=RetryPolicy(retry.attempts, retry.base, retry.cap, retry.retry_after_cap),
        limit_rate=network.limit_rate,
        allowance=_ALLOWANCE,
        min_speed=_min_speed(network),
        stall_timeout=network.stall_timeout,
        offline=options.offline,
        files=affordable(network.files, limit()),
        split_policy=SplitPolicy(connections=options.connections or network.connections),
        timeout=options.timeout,
        lock_timeout=options.lock_timeout,
        name=options.name,
        rank=_by_health(loaded, cancel),
        absent=_by_misses(loaded, cancel),
        discover=discover,
        prepare=context.client.prepare,
        close=close,
        opened=attached.opened,
        swarm=attached.swarm,
    )


def _closing(client: Client, digests: HistoryDigests | None, swarm: RunSwarm | None) -> Callable[[], None]:
    """Return a function that closes connections, and writes the digests that were computed in the run."""

    def close() -> None:
        if swarm is not None:
            swarm.close()
        client.close()
        if digests is not None:
            digests.close()

    return close


def _limits(network: Network) -> Limits:
    """Return the limits of HTTP. At a limited rate, bytes are passed on in the small pieces they come in."""
    limits = Limits(network.connect_timeout, network.stall_timeout, network.min_speed)
    return limits if network.limit_rate is None else replace(limits, direct_from=math.inf)


def _min_speed(network: Network) -> float:
    """Return the speed below which a source has failed: 0 under ``limit_rate``, which slows sources down."""
    return network.min_speed if network.limit_rate is None else 0.0


def _watched(
    sources: Mapping[str, Source], loaded: Loaded, models: Collection[str], notices: Notices
) -> dict[str, Source]:
    """Report requests to private networks that a project, and not the user, configured."""
    settings, project = loaded.settings, f"project file {sanitize(str(loaded.project_file))}"
    places: dict[bool, list[str]] = {True: [], False: []}
    for setting in SETTINGS:
        places[loaded.origins[setting.name] == project] += _addresses(setting, settings)
    if not (models or places[True]):
        return dict(sources)
    from modelfetch.sources.ipfs_gateway import LOCAL_NODE
    from modelfetch.sources.private_network import PrivateNetworkWatch, Watched

    places[False].append(LOCAL_NODE)  # the user's own node, which no project has to name

    watch = PrivateNetworkWatch(frozenset(models), places[False], places[True], notices.add)
    return {kind: Watched(source, watch) for kind, source in sources.items()}


def _addresses(setting: Setting, settings: Settings) -> tuple[str, ...]:
    """Return the addresses that a setting holds; empty for a setting of another form."""
    if not isinstance(setting.form, Address | Addresses):
        return ()
    value = settings.value(setting.name)
    return (value,) if isinstance(value, str) else cast("tuple[str, ...]", value)


def _by_health(loaded: Loaded, cancel: Cancellation) -> Rank:
    """Order hosts by their health; the history is read only when there are two hosts to choose from."""

    @cache
    def measured() -> Mapping[tuple[str, str], Health]:
        from modelfetch.history import FILE, History

        path = loaded.cache_dir / FILE
        with History(path, wait=HISTORY_WAIT, is_cancelled=lambda: cancel.cancelled) as history:
            return history.health(datetime.now(UTC))

    def ranked(offers: Sequence[Offer]) -> Sequence[Offer]:
        if len({offer.host for offer in offers if offer.kind != SourceKind.LOCAL}) < 2:
            return offers
        from modelfetch.history import rank

        return rank(offers, measured())

    return ranked


def _by_misses(loaded: Loaded, cancel: Cancellation) -> Absent:
    """Return what IPFS gateways did not have within a day; without a history, nothing is known."""

    @cache
    def known() -> frozenset[Miss]:
        from modelfetch.history import FILE, History

        path = loaded.cache_dir / FILE
        with History(path, wait=HISTORY_WAIT, is_cancelled=lambda: cancel.cancelled) as history:
            return history.misses(SourceKind.IPFS, datetime.now(UTC))

    def is_absent(offer: Offer, manifest: Manifest, file: FileSpec) -> bool:
        if offer.kind != SourceKind.IPFS or not loaded.settings.history.days:
            return False
        return (offer.host, manifest.name, file.path, file.size) in known()

    return is_absent


def source_order(configured: Sequence[str], options: RunOptions, kinds: Sequence[str]) -> list[str]:
    """Return the kinds of source to ask, in order.

    ``--prefer`` puts one kind first, then ``--only`` leaves out the others, then ``--offline`` leaves only
    this disk. ``--prefer`` and ``--only`` may also name kinds that are not configured.

    Args:
        configured: Setting ``sources.order``. A name that is no kind is ignored.
        options: Of the run.
        kinds: All kinds there are.

    Raises:
        UsageError: ``--prefer`` or ``--only`` names no kind of source.
    """
    preferred = [options.prefer] if options.prefer else []
    _check_kinds([*options.only, *preferred], kinds)
    order = preferred + [kind for kind in _common(configured, kinds) if kind not in preferred]
    if options.only:
        order = _common(order, options.only) or list(options.only)
    return [kind for kind in order if kind in _OFFLINE] if options.offline else order


def _common(names: Sequence[str], allowed: Collection[str]) -> list[str]:
    """Return those names that are allowed, in their order."""
    return [name for name in names if name in allowed]


def _check_kinds(names: Sequence[str], kinds: Sequence[str]) -> None:
    """Refuse names that are no kind of source, with the closest one as a guess."""
    for name in names:
        if name not in kinds:
            raise UsageError(
                f"{quote(name)} is not a kind of source.{did_you_mean(name, kinds)}",
                hint=f"The kinds are: {', '.join(kinds)}.",
            )
