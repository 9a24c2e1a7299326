"""What a run learns about hosts: once for all files."""

from __future__ import annotations

import threading

import pytest

from modelfetch.engine.hosts import DOWN_SECONDS, Hosts
from modelfetch.errors import Fault, SourceError
from tests.engine.fakes import FakeClock

HOST = "a.example"


def error(fault: Fault) -> SourceError:
    return SourceError(fault, "on purpose")


def test_an_unknown_host_has_no_failures() -> None:
    hosts = Hosts(FakeClock())
    assert hosts.ready_at(HOST) <= 1000.0
    assert not hosts.is_demoted(HOST)
    assert hosts.down(HOST) is None


def test_a_wait_counts_from_now_and_for_one_host() -> None:
    hosts = Hosts(FakeClock(1000.0))
    hosts.defer(HOST, 30.0)
    assert hosts.ready_at(HOST) == 1030.0
    assert hosts.ready_at("b.example") <= 1000.0


def test_the_longer_of_two_waits_holds() -> None:
    clock = FakeClock(1000.0)
    hosts = Hosts(clock)
    hosts.defer(HOST, 30.0)
    hosts.defer(HOST, 3.0)
    assert hosts.ready_at(HOST) == 1030.0
    clock.now = 1025.0
    hosts.defer(HOST, 30.0)
    assert hosts.ready_at(HOST) == 1055.0


@pytest.mark.parametrize("fault", [Fault.CONNECT, Fault.TLS, Fault.PROXY])
def test_an_unreachable_host_is_down_for_a_while(fault: Fault) -> None:
    clock = FakeClock()
    hosts = Hosts(clock)
    failure = error(fault)
    hosts.record_failure(HOST, failure)
    assert hosts.down(HOST) is failure
    assert hosts.is_demoted(HOST)
    clock.now += DOWN_SECONDS - 0.1
    assert hosts.down(HOST) is failure
    clock.now += 0.1
    assert hosts.down(HOST) is None
    assert hosts.is_demoted(HOST)


@pytest.mark.parametrize("fault", [Fault.CONNECT, Fault.TLS, Fault.PROXY])
def test_a_host_is_not_down_if_a_redirect_of_it_cannot_be_reached(fault: Fault) -> None:
    hosts = Hosts(FakeClock())
    failure = error(fault)
    failure.elsewhere = "cdn.example"
    hosts.record_failure(HOST, failure)
    assert hosts.down(HOST) is None
    assert hosts.is_demoted(HOST)


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.STALL, Fault.BUSY, Fault.SERVER, Fault.HASH, Fault.SIZE])
def test_a_host_that_could_not_deliver_is_demoted_but_not_down(fault: Fault) -> None:
    hosts = Hosts(FakeClock())
    hosts.record_failure(HOST, error(fault))
    assert hosts.is_demoted(HOST)
    assert hosts.down(HOST) is None


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.AUTHORIZATION, Fault.MISSING])
def test_a_fault_of_one_file_does_not_demote_the_host(fault: Fault) -> None:
    hosts = Hosts(FakeClock())
    hosts.record_failure(HOST, error(fault))
    assert not hosts.is_demoted(HOST)


def test_a_success_clears_the_failures() -> None:
    hosts = Hosts(FakeClock())
    hosts.record_failure(HOST, error(Fault.CONNECT))
    hosts.record_success(HOST)
    assert not hosts.is_demoted(HOST)
    assert hosts.down(HOST) is None


def test_a_success_does_not_clear_a_wait() -> None:
    """The delivery may have begun before the server asked others to come back later."""
    hosts = Hosts(FakeClock(1000.0))
    hosts.defer(HOST, 60.0)
    hosts.record_success(HOST)
    assert hosts.ready_at(HOST) == 1060.0


def test_many_threads_record_at_once() -> None:
    hosts = Hosts(FakeClock(1000.0))

    def learn(n: int) -> None:
        for round_ in range(200):
            hosts.defer(f"{round_ % 7}.example", n)
            hosts.record_failure(f"{round_ % 7}.example", error(Fault.CUT))
            hosts.record_success("none.example")

    threads = [threading.Thread(target=learn, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [hosts.ready_at(f"{n}.example") for n in range(7)] == [1003.0] * 7
    assert all(hosts.is_demoted(f"{n}.example") for n in range(7))


def test_a_host_is_healthy_until_it_fails_or_asks_to_wait() -> None:
    clock = FakeClock()
    hosts = Hosts(clock)
    assert hosts.is_healthy(HOST)
    hosts.defer(HOST, 5.0)
    assert not hosts.is_healthy(HOST)
    clock.now += 5.0
    assert hosts.is_healthy(HOST)
    hosts.record_failure(HOST, error(Fault.SERVER))
    assert not hosts.is_healthy(HOST)
    hosts.record_success(HOST)
    assert hosts.is_healthy(HOST)


def test_waits_are_in_vain_if_the_file_comes_from_elsewhere() -> None:
    hosts = Hosts(FakeClock())
    hosts.note_waits("1", {HOST: (10.0, 13.0), "other": (10.0, 11.0)})
    assert hosts.in_vain(HOST) == 0.0, "not known yet"
    hosts.note_file("1", "origin", is_awaited=False)
    hosts.note_file("1", "origin", is_awaited=False)
    assert (hosts.in_vain(HOST), hosts.in_vain("other")) == (3.0, 1.0)
    hosts.note_waits("2", {HOST: (12.0, 15.0)})
    hosts.note_waits("3", {HOST: (11.0, 12.0)})
    for file in "23":
        hosts.note_file(file, "origin", is_awaited=False)
    assert hosts.in_vain(HOST) == 5.0, "files that wait at the same time wait once"
    hosts.note_waits("4", {"other": (20.0, 99.0)})
    hosts.note_file("4", HOST, is_awaited=True)
    assert (hosts.in_vain(HOST), hosts.in_vain("other")) == (0.0, 1.0)


def shared(sizes: list[int], most: int, limit: int = 8, others: int = 0) -> list[int]:
    """The connections of files that start together, with others of one connection."""
    hosts = Hosts(FakeClock(), limit)
    hosts.expect(sum(sizes), len(sizes) + others)
    return [hosts.share_connections(size, most) for size in sizes]


def test_files_that_start_together_share_the_connections_by_size() -> None:
    assert shared([208, 82], 32, limit=32) == [23, 9]
    assert shared([208, 82], 32, limit=32, others=1) == [22, 9]
    assert shared([100], 4) == [4]


@pytest.mark.parametrize("sizes", [[100, 100, 100], [100, 99, 98, 97, 96], [1000, 1, 1], [5, 5, 5, 5]])
@pytest.mark.parametrize("most", [2, 4, 32])
def test_rounding_gives_no_more_than_there_are(sizes: list[int], most: int) -> None:
    """A part without a connection would begin when the others end, and double the time."""
    shares = shared(sizes, most)
    assert all(1 <= share <= most for share in shares)
    assert sum(shares) <= 8


def test_a_file_that_starts_later_gets_what_another_one_returned() -> None:
    hosts = Hosts(FakeClock())
    hosts.expect(200, 2)
    assert [hosts.share_connections(100, 4) for _ in range(3)] == [4, 4, 1]
    hosts.return_connections(4)
    assert hosts.share_connections(100, 4) == 4


def test_a_file_that_is_not_cut_leaves_the_connections_to_others() -> None:
    hosts = Hosts(FakeClock())
    hosts.expect(100, 2)
    assert hosts.share_connections(10, 1) == 1
    hosts.return_connections(1)
    assert hosts.share_connections(100, 32) == 7


def test_more_files_than_connections_get_one_each() -> None:
    assert shared([100] * 12, 4) == [1] * 12
