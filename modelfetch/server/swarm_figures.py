"""The figures of a server's swarm for the panel: sums over its torrents.

Machines that are connected for several torrents count once; bytes count for torrents that are gone, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.server.sharing_status import SwarmFigures

if TYPE_CHECKING:
    from modelfetch.engine.swarm_session import Session


class SessionFigures:
    """The figures of one session.

    Args:
        session: The swarm of the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def figures(self) -> SwarmFigures:
        """Return them as of the latest reports of the engine."""
        reports = self._session.reports
        statuses = reports.latest()
        return SwarmFigures(
            torrents=len(statuses),
            peers=len({peer.peer_id for status in statuses for peer in status.peers}),
            uploaded=reports.uploaded,
            downloaded=reports.downloaded,
            upload_rate=sum(status.upload_rate for status in statuses),
            download_rate=sum(status.download_rate for status in statuses),
        )
