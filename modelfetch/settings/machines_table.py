"""The rows of the table of settings about other machines: finding them, the swarm, and the server.

A part of :mod:`modelfetch.settings.table`, which explains the rows. A project may set none of them: what this
machine sends to others, and which ports it opens, is up to its user.
"""

from __future__ import annotations

from typing import Final

from modelfetch.settings.redaction import machine, tracker
from modelfetch.settings.types import NONE, Addresses, Flag, Integer, Rate, Setting

PARALLEL: Final = Integer(1, 64)
"""A number of things done at the same time."""

MACHINES: Final = (
    Setting(
        "lan",
        "enabled",
        Flag(),
        False,
        "Whether to find peers on the local network (mDNS), and `serve --share` announces itself there.",
        "the owner of a network decides who announces services on it",
        project="never",
    ),
    Setting(
        "swarm",
        "enabled",
        Flag(),
        False,
        "Whether to exchange files with other machines by BitTorrent, where a model has a swarm.",
        "whoever takes part also uploads, and tells strangers in the swarm which model this machine has",
        project="never",
    ),
    Setting(
        "swarm",
        "port",
        Integer(0, 65_535),
        6881,
        "TCP port for peers of the swarm; 0 for any. If it is in use, another one is taken.",
        "a fixed port can be opened in a firewall; this is the one that people know",
        project="never",
    ),
    Setting(
        "swarm",
        "trackers",
        Addresses("a list of http, https or udp addresses", tracker),
        [],
        "Trackers that every swarm is announced to, besides those of its manifest.",
        "multicast finds peers in the same network without one",
        project="never",
    ),
    Setting(
        "swarm",
        "peers",
        Addresses("a list of HOST:PORT", machine),
        [],
        "Machines that are asked in every swarm, by the address of their port for peers.",
        "for networks without multicast and tracker",
        project="never",
    ),
    Setting(
        "swarm",
        "upload_rate",
        Rate(limitless=True),
        NONE,
        "Most bytes per second that are sent to all peers together; none or 0 means no limit.",
        "in a local network the others wait for it",
        project="never",
    ),
    Setting(
        "swarm",
        "readers",
        Integer(1, 1000),
        2,
        "Number of machines of a swarm that read the other sources at once; the rest wait for their pieces.",
        "one may fail; each more reads the whole model again",
        project="never",
    ),
    Setting(
        "serve",
        "jobs",
        PARALLEL,
        2,
        "Jobs that `modelfetch serve` runs at the same time; others wait in its queue.",
        "a small model need not wait for a large one; more jobs only share the same bandwidth",
        project="never",
    ),
    Setting(
        "serve",
        "share_clients",
        Integer(1, 200),
        64,
        "Files that `modelfetch serve --share` sends at the same time, half of them to one address at most.",
        "each takes a thread; further requests are answered with 503 and may be repeated",
        project="never",
    ),
    Setting(
        "serve",
        "share_rate",
        Rate(limitless=True),
        NONE,
        "Most bytes per second that `modelfetch serve --share` sends in all; none or 0 means no limit.",
        "a local network is there to be used",
        project="never",
    ),
)
"""The sections ``lan``, ``swarm`` and ``serve``, in the order of the reference page."""
