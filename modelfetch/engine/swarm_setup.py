"""Makes the swarm of a run, or of a server, from the settings.

A run has none unless ``swarm.enabled`` is set (``ensure --swarm``), and none with ``--offline``. ``--only``
leaves it out too, unless it was asked for by name. libtorrent that is missing is a notice here; commands that
were given ``--swarm`` check for it before (:func:`require_engine`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.engine.swarm_options import SwarmOptions
from modelfetch.engine.swarm_session import Session
from modelfetch.errors import UnavailableError, UsageError
from modelfetch.swarm.child_process import check_available
from modelfetch.swarm.client import EngineClient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from modelfetch.settings import Loaded
    from modelfetch.store import Store


def require_engine() -> None:
    """Check that there can be a swarm.

    Raises:
        UsageError: libtorrent is not installed, or this Python cannot run it.
    """
    try:
        check_available()
    except UnavailableError as error:
        raise UsageError(error.message, hint=error.hint) from error


def open_for_run(
    loaded: Loaded,
    store: Store,
    notify: Callable[[str], None],
    *,
    offline: bool,
    only: Collection[str],
    is_asked: bool = False,
) -> Session | None:
    """Make the swarm of a run, for the caller to close; None if it is to use none, or there can be none.

    Args:
        loaded: The settings, in which the swarm is enabled.
        store: The cache.
        notify: Receives lines for the user.
        offline: Whether the run may not use the network.
        only: The kinds of source that it may use; empty for all.
        is_asked: As for :func:`open_session`.
    """
    if offline or loaded.offline or (only and not is_asked):
        return None
    return open_session(loaded, store, notify, is_asked=is_asked)


def open_session(
    loaded: Loaded, store: Store, notify: Callable[[str], None], *, is_asked: bool = False
) -> Session | None:
    """Make the swarm that the settings describe; None, with a notice, if there can be no engine.

    Args:
        loaded: The settings.
        store: The cache.
        notify: Receives lines for the user.
        is_asked: Whether the user asked for the swarm by an option, and is to know of models without one.
    """
    try:
        check_available()
    except UnavailableError as error:
        notify(f"no swarm: {error.message}. {error.hint}")
        return None
    return Session(store, _options(loaded, is_asked=is_asked), EngineClient, notify)


def _options(loaded: Loaded, *, is_asked: bool) -> SwarmOptions:
    swarm = loaded.settings.swarm
    return SwarmOptions(
        port=swarm.port,
        trackers=swarm.trackers,
        peers=swarm.peers,
        upload_rate=swarm.upload_rate,
        download_rate=loaded.settings.network.limit_rate,
        readers=swarm.readers,
        is_asked=is_asked,
    )
