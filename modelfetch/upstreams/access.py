"""What upstreams share in one run: the client for hubs, the settings, and the environment.

Upstreams take endpoints and tokens from the settings, so that a project's file cannot decide where a token
goes (see :mod:`modelfetch.settings.project_limits`). The environment is for hubs that have variables of their
own and no setting, for example ``GITHUB_TOKEN``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.net.hub_client import HubClient
    from modelfetch.settings import Loaded


@dataclass(frozen=True, slots=True)
class Access:
    """What an upstream needs to make requests."""

    hub: HubClient
    """Sends requests, with retries and cancellation."""
    loaded: Loaded
    """The settings, with the endpoints of hubs and their tokens."""
    environ: Mapping[str, str]
    """The environment of the run, usually ``os.environ``."""
