"""A server that shares the cache of a small machine."""

from __future__ import annotations

from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.share_state import ShareState
from modelfetch.share.shared_cache import SharedCache
from modelfetch.share.shared_models import SharedModels
from tests.server.running import Answer, Served
from tests.share.home import Home


class Shapes(Served):
    """A server that shares a cache."""

    def __init__(self, home: Home) -> None:
        models = SharedModels(home.load)
        super().__init__(
            home.root,
            make_share_state=lambda _: ShareState(SharedCache(home.store), ShareLimits(8, None), models),
        )

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Send a request without the token."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(method, path, headers=named, token=None)
