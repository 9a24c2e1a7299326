"""From settings to a runtime: which sources there are, in which order, with which patience."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.engine.descriptors import affordable, limit
from modelfetch.engine.runtime import Rank, Runtime
from modelfetch.engine.segments import Sharing
from modelfetch.errors import UsageError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.text import did_you_mean, quote
from modelfetch.net.cancel import Cancellation
from modelfetch.net.client import Client, Limits
from modelfetch.net.retry import RetryPolicy
from modelfetch.settings import Loaded
from modelfetch.settings.values import Network
from modelfetch.sources.base import LOCAL, Offer, Source
from modelfetch.sources.huggingface import HuggingFaceSource
from modelfetch.sources.ipfs import IpfsSource
from modelfetch.sources.local import Finder, LocalSource, in_huggingface_cache
from modelfetch.sources.mirror import MirrorSource
from modelfetch.sources.url import UrlSource
from modelfetch.store import Store
from modelfetch.values import dataclass

if TYPE_CHECKING:
    from modelfetch.history import Health


HISTORY_WAIT = 0.2
"""Seconds a run waits for the history before it does without: the order of hosts is not worth more."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run asks for beyond the settings."""

    offline: bool = False
    prefer: str | None = None
    """Kind of source to ask first."""
    only: tuple[str, ...] = ()
    """Kinds of source that may be used; empty means all configured ones."""
    timeout: float | None = None
    """Seconds for the whole run."""
    lock_timeout: float | None = None
    """Seconds to wait for another process."""
    connections: int | None = None
    """Connections to one file, instead of the configured number."""


def assemble(loaded: Loaded, options: RunOptions, cancel: Cancellation) -> Runtime:
    """Make the runtime of one run.

    Raises:
        UsageError: ``prefer`` or ``only`` names no kind of source.
    """
    network, retry = loaded.settings.network, loaded.settings.retry
    store = Store(loaded.cache_dir, fsync=loaded.settings.cache.fsync)
    client = Client(_limits(network), cancel)
    available = _sources(loaded, store, client)
    order = source_order(loaded.settings.sources.order, options, list(available))
    return Runtime(
        store=store,
        sources=[available[kind] for kind in order],
        cancel=cancel,
        retry=RetryPolicy(retry.attempts, retry.base, retry.cap, retry.retry_after_cap),
        limit_rate=network.limit_rate,
        files=affordable(network.files, limit()),
        sharing=Sharing(connections=options.connections or network.connections),
        deadline=None if options.timeout is None else time.monotonic() + options.timeout,
        lock_timeout=options.lock_timeout,
        rank=_by_health(loaded),
        prepare=client.prepare,
        close=client.close,
    )


def _limits(network: Network) -> Limits:
    """The patience of HTTP. At a limited rate bytes are taken in the small pieces they come in."""
    limits = Limits(network.connect_timeout, network.stall_timeout, network.min_speed)
    return limits if network.limit_rate is None else replace(limits, direct_from=math.inf)


def _sources(loaded: Loaded, store: Store, client: Client) -> dict[str, Source]:
    token = loaded.hf_token.reveal() if loaded.hf_token is not None else None
    settings = loaded.settings
    sources: list[Source] = [
        LocalSource([_in_store(store), in_huggingface_cache(loaded.hf_cache)]),
        MirrorSource(client, settings.sources.mirrors),
        IpfsSource(client, settings.ipfs.gateways),
        HuggingFaceSource(client, settings.huggingface.endpoint, token),
        UrlSource(client),
    ]
    return {source.kind: source for source in sources}


def _by_health(loaded: Loaded) -> Rank:
    """Rank hosts by how they fared; the history is read when there is something to choose."""

    @cache
    def measured() -> Mapping[tuple[str, str], Health]:
        from modelfetch.history import FILE, History

        with History(loaded.cache_dir / FILE, wait=HISTORY_WAIT) as history:
            return history.health(datetime.now(UTC))

    def ranked(offers: Sequence[Offer]) -> Sequence[Offer]:
        if len({offer.host for offer in offers if offer.kind != LOCAL}) < 2:
            return offers
        from modelfetch.history import rank

        return rank(offers, measured())

    return ranked


def _in_store(store: Store) -> Finder:
    """Find files of models in this cache, whose blob may have been lost."""

    @cache  # once a run: reading every receipt for every file would take longer than fetching small ones
    def placed() -> dict[str, list[Path]]:
        return store.placed()

    def find(manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        yield store.directory(manifest) / file.path
        yield from placed().get(file.sha256, ())

    return find


def source_order(configured: Sequence[str], options: RunOptions, kinds: Sequence[str]) -> list[str]:
    """The kinds to ask, in order: configured, then ``--prefer`` moves one to the front, ``--only`` filters.

    Raises:
        UsageError: A name is not a kind of source.
    """
    for name in (*options.only, *((options.prefer,) if options.prefer else ())):
        if name not in kinds:
            raise UsageError(
                f"{quote(name)} is not a kind of source.{did_you_mean(name, kinds)}",
                hint=f"The kinds are: {', '.join(kinds)}.",
            )
    order = sorted((kind for kind in configured if kind in kinds), key=lambda kind: kind != options.prefer)
    if options.prefer and options.prefer not in order:
        order.insert(0, options.prefer)
    if options.only:
        order = [kind for kind in order if kind in options.only] or list(options.only)
    return [kind for kind in order if kind == LOCAL] if options.offline else order
