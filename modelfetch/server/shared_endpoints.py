"""All shared endpoints: what ``serve --share`` answers without a token.

No route here needs a token, and each only reads; see :mod:`modelfetch.server.guard`::

    /blobs/sha256/HEX              a file by its digest
    /announce                      the tracker of swarms
    /ipfs/CID                      blocks
    /v2/NAME/...                   a registry
    /api/models/ORG/REPO/...       Hugging Face, with /ORG/REPO/resolve/REV/PATH
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.server.share_blobs import BlobRoutes
from modelfetch.server.share_gateway import GatewayRoutes
from modelfetch.server.share_hub import HubRoutes
from modelfetch.server.share_registry import RegistryRoutes
from modelfetch.server.share_tracker import TrackerRoutes

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from modelfetch.server.share_state import ShareState


def shared_routes(share_state: ShareState) -> list[BaseRoute]:
    """Return every shared route."""
    return [
        *BlobRoutes(share_state).routes(),
        *TrackerRoutes(share_state).routes(),
        *GatewayRoutes(share_state).routes(),
        *RegistryRoutes(share_state).routes(),
        *HubRoutes(share_state).routes(),  # last: its pattern of files is general
    ]
