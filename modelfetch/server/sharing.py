"""Makes the state of sharing of a server: of one that serves what is here, or of one that fetches, too.

Imported only by a server that shares its cache, so that others do not load any of it::

    with sharing(engine, workspace, jobs, fetch=True) as share_state:
        app = build(jobs, engine, history, address, token, share_state=share_state)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.share_state import ShareState
from modelfetch.share.shared_cache import SharedCache
from modelfetch.share.shared_models import SharedModels

if TYPE_CHECKING:
    from modelfetch.server.job_queue import Jobs
    from modelfetch.server.runner import ServerWorkspace
    from modelfetch.workspace import Workspace


@contextlib.contextmanager
def sharing(
    engine: ServerWorkspace,
    workspace: Workspace,
    jobs: Jobs,
    *,
    fetch: bool = False,
    pin_only: Sequence[str] | None = None,
) -> Iterator[ShareState]:
    """Make the state of sharing; it ends with the block.

    Args:
        engine: Reads settings and catalogs again, whenever models are looked up.
        workspace: Settings and cache at the start.
        jobs: The jobs of the server.
        fetch: Whether a file of a pinned model that is not here is fetched when a client asks for it.
        pin_only: Patterns of the repositories that are pinned when a client names them; empty for all of
            them, None for none.
    """
    settings, store = workspace.loaded.settings, workspace.store
    cache, models = SharedCache(store), SharedModels(engine.load)
    limits = ShareLimits(settings.serve.share_clients, settings.serve.share_rate)
    if fetch:
        from modelfetch.server.pin_on_demand import PinOnDemand
        from modelfetch.server.pull_through import PullThrough

        on_demand = PinOnDemand(engine, pin_only) if pin_only is not None else None
        share_state: ShareState = PullThrough(cache, limits, models, engine, jobs, store, on_demand)
    else:
        share_state = ShareState(cache, limits, models)
    try:
        yield share_state
    finally:
        share_state.close()
