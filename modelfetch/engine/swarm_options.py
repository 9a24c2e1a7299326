"""The options of a swarm's session: the settings of the section ``swarm``, and limits.

:mod:`modelfetch.engine.swarm_setup` makes them from the settings; tests and measurements make their own, with
an address for each machine that they play.
"""

from __future__ import annotations

from pathlib import Path

from modelfetch.lazy_dataclass import dataclass
from modelfetch.swarm.engine import EngineOptions


@dataclass(frozen=True, slots=True)
class SwarmOptions:
    """Options of a session: the settings of the section ``swarm``, and limits."""

    port: int = 0
    trackers: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    upload_rate: int | None = None
    download_rate: int | None = None
    readers: int = 2
    is_asked: bool = False
    """Whether to report models that have no torrent."""
    discovers_lan: bool = True
    is_shared_address: bool = False
    listen: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104 - peers of the LAN connect to it

    def of_engine(self, staging: Path, peer_id: bytes) -> EngineOptions:
        """Return those of the engine, which writes below a directory and has this peer ID."""
        return EngineOptions(
            staging,
            peer_id=peer_id,
            listen=self.listen,
            port=self.port,
            upload_rate=self.upload_rate,
            download_rate=self.download_rate,
            discovers_lan=self.discovers_lan,
            is_shared_address=self.is_shared_address,
        )
