"""The search for peers: when it ends, and who shares its result."""

from __future__ import annotations

import queue
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from modelfetch.net.mdns import SERVICE, RecentPeers, _arriving, search
from modelfetch.net.mdns_records import MOST_PEERS, FoundPeer
from tests.patience import IN_TIME


def test_thousands_of_names_end_the_search() -> None:
    names: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    for number in range(5000):
        names.put((f"modelfetch-{number}.{SERVICE}", None))
        names.put(("something._else._tcp.local.", None))
    now = time.monotonic()
    assert len(list(_arriving(names, now + 60, now + 60))) == MOST_PEERS


def test_runs_of_a_process_share_a_search_for_a_minute() -> None:
    now, found = [0.0], [FoundPeer("http://192.168.1.7:8765", "3f9a0c11d2e4b7a6")]
    searches = []

    def search() -> list[FoundPeer]:
        searches.append(now[0])
        return found

    memory = RecentPeers(search, lambda: now[0])
    for now[0] in (0.0, 59.0, 61.0):
        assert memory.peers() == found
    assert searches == [0.0, 61.0]


def test_a_way_of_asking_that_fails_does_not_leave_the_other_one_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_closed = threading.Event()

    def engine(*, unicast: bool, **_: object) -> SimpleNamespace:
        if not unicast:
            raise RuntimeError("can't start new thread")
        return SimpleNamespace(close=is_closed.set)

    package = SimpleNamespace(
        Zeroconf=engine,
        IPVersion=SimpleNamespace(All=None),
        DNSQuestionType=SimpleNamespace(QU=None, QM=None),
    )
    monkeypatch.setitem(sys.modules, "zeroconf", package)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        search()
    assert is_closed.wait(IN_TIME)
