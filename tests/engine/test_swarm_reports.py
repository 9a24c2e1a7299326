"""Totals of a session's torrents, which count from 0 whenever they are added."""

from __future__ import annotations

from modelfetch.engine.swarm_reports import Reports
from modelfetch.swarm.engine import Peer, Status


def status(infohash: str, uploaded: int, downloaded: int, *seeds: bool, is_last: bool = False) -> Status:
    peers = tuple(Peer(f"{n}", "192.0.2.1:6881", is_seed, 0.5, 1, 2) for n, is_seed in enumerate(seeds))
    return Status(infohash, 20, 10, downloaded, uploaded, 3, peers, is_last=is_last)


def totals(reports: Reports) -> tuple[int, int]:
    return reports.uploaded, reports.downloaded


def test_without_a_torrent_all_is_zero() -> None:
    reports = Reports()
    assert (totals(reports), reports.incomplete_peers, reports.latest()) == ((0, 0), 0, [])


def test_torrents_are_added_up() -> None:
    reports = Reports()
    reports.note(status("a", 1, 2, True, False))
    reports.note(status("a", 100, 10, True, False))
    reports.note(status("b", 5, 1, False))
    assert (totals(reports), reports.incomplete_peers) == ((105, 11), 2)


def test_a_torrent_that_is_replaced_counts_on_from_its_last_report() -> None:
    """Even if the next one has counted as much by its first report."""
    reports = Reports()
    reports.note(status("a", 100, 50))
    reports.note(status("a", 110, 60, is_last=True))
    assert totals(reports) == (110, 60)
    reports.note(status("a", 110, 60))
    assert totals(reports) == (220, 120)


def test_the_last_report_hides_none_of_the_torrent_that_follows() -> None:
    reports = Reports()
    new = status("a", 0, 0)
    reports.note(new)
    reports.note(status("a", 100, 50, is_last=True))
    assert reports.latest() == [new]


def test_a_torrent_that_was_removed_keeps_its_bytes_and_is_not_shown() -> None:
    reports = Reports()
    reports.note(status("a", 100, 50))
    reports.forget("a")
    reports.note(status("a", 120, 50), is_shown=False)
    assert (totals(reports), reports.latest()) == ((120, 50), [])


def test_an_engine_that_was_started_again_counts_from_zero() -> None:
    reports = Reports()
    reports.note(status("a", 100, 50))
    reports.note_restart()
    reports.note(status("a", 100, 60))
    assert totals(reports) == (200, 110)
