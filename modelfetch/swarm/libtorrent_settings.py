"""The settings of libtorrent, and why they differ from its defaults.

Nothing is looked for outside of what the user named: no DHT, no port opened in a router, no web seeds. Only
TCP is used; a LAN needs no uTP. The timing is that of a local network, where all peers appear within a
minute: with the defaults of libtorrent, 16 nodes that start together wait a minute for each other. The
figures were measured with 4 to 64 nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from modelfetch.swarm.rendezvous import CLIENT
from modelfetch.version import __version__

if TYPE_CHECKING:
    from modelfetch.swarm.engine import EngineOptions

_FIXED: Final[dict[str, Any]] = {
    "enable_dht": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    # 60 by default: a peer that was busy, or that started a little later, is tried again only after it.
    "min_reconnect_time": 1,
    "peer_connect_timeout": 5,
    # 300 by default. A seed does not connect to an address that was a seed before, so a machine that lost its
    # files must hear of the seed. Each announcement is one packet, and at most one is sent each second.
    "local_service_announce_interval": 5,
    # 15 and 30 by default: a node of few seconds would never get its turn.
    "unchoke_interval": 1,
    "optimistic_unchoke_interval": 2,
    # Few uploads at a time: each piece is complete sooner, and is passed on sooner. With 8, everyone
    # downloaded from the readers alone, and 8 nodes took 27 s instead of 15.
    "unchoke_slots_limit": 4,
    # Machines agree on who reads the origin where they know each other. Of 64 with 40 connections each,
    # four read.
    "connections_limit": 100,
    "mixed_mode_algorithm": 0,  # 0 prefers TCP: slowing it down in favor of uTP is of no use without uTP
    "rate_limit_ip_overhead": False,
    # The policy "enabled" (1): encrypted where the other side can, plain otherwise. Level 3 is both ciphers.
    "out_enc_policy": 1,
    "in_enc_policy": 1,
    "allowed_enc_level": 3,
    "prefer_rc4": True,
    "validate_https_trackers": True,
    "announce_to_all_trackers": True,
    "announce_to_all_tiers": True,
    # A torrent that the user pinned is never queued behind another one.
    "active_downloads": -1,
    "active_seeds": -1,
    "active_limit": -1,
    "active_checking": -1,
    "alert_queue_size": 100_000,
    # A tracker or a peer may name any address: services of a network are not connected to.
    "no_connect_privileged_ports": True,
    # Metadata comes from strangers; a larger torrent needs its file beside the manifest.
    "max_metadata_size": 16 * 1024 * 1024,
    "stop_tracker_timeout": 1,  # the end of a run waits for it
    "tracker_completion_timeout": 10,
    "tracker_receive_timeout": 5,
}


def session_settings(options: EngineOptions, alert_mask: int) -> dict[str, Any]:
    """Return the settings of a session."""
    agent = f"modelfetch/{__version__}"
    listen = ",".join(f"{_bracketed(address)}:{options.port}" for address in options.listen)
    specific = [address for address in options.listen if address not in ("0.0.0.0", "::")]  # noqa: S104
    return _FIXED | {
        "alert_mask": alert_mask,
        "user_agent": agent,
        "handshake_client_version": agent,
        "peer_fingerprint": (options.peer_id or CLIENT).decode("latin-1"),
        "listen_interfaces": listen,
        "outgoing_interfaces": ",".join(specific),  # so that peers see the address that we listen on
        "enable_lsd": options.discovers_lan,
        "allow_multiple_connections_per_ip": options.is_shared_address,
        # For libtorrent 0 is no limit.
        "upload_rate_limit": options.upload_rate or 0,
        "download_rate_limit": options.download_rate or 0,
    }


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
