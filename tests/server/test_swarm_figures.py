"""The figures of a server's swarm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from modelfetch.engine.swarm_reports import Reports
from modelfetch.engine.swarm_session import Session
from modelfetch.server.sharing_status import SwarmFigures
from modelfetch.server.swarm_figures import SessionFigures
from modelfetch.swarm.engine import Peer, Status


def status(infohash: str, uploaded: int, downloaded: int, *peers: str) -> Status:
    found = tuple(Peer(peer, "192.0.2.1:6881", False, 0.5, 1, 2) for peer in peers)
    return Status(infohash, 20, 10, downloaded, uploaded, 3, found)


def figures(reports: Reports) -> SwarmFigures:
    return SessionFigures(cast("Session", SimpleNamespace(reports=reports))).figures()


def test_without_a_torrent_all_is_zero() -> None:
    assert figures(Reports()) == SwarmFigures(0, 0, 0, 0, 0, 0)


def test_torrents_are_added_up_and_a_peer_counts_once() -> None:
    reports = Reports()
    reports.note(status("a", 100, 10, "x", "y"))
    reports.note(status("b", 5, 1, "y"))
    assert figures(reports) == SwarmFigures(2, 2, 105, 11, 20, 40)


def test_what_a_torrent_has_counted_stays_when_it_is_gone() -> None:
    reports = Reports()
    reports.note(status("a", 130, 50))
    reports.forget("a")
    assert figures(reports) == SwarmFigures(0, 0, 130, 50, 0, 0)
