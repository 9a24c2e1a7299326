"""Limits for unauthenticated clients: idle connections and guesses."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from modelfetch.server import login_limits
from modelfetch.server.login_limits import FORGET_SECONDS, Guesses, LoginLimits, TooManyGuesses
from tests.patience import IN_TIME
from tests.server.running import Served, until


class FakeConnection:
    """A connection that only records that it was closed."""

    def __init__(self, connections: list[FakeConnection], at: int, network: str = "") -> None:
        self.is_authenticated = False
        self.network = network
        self._cut = connections
        self.at = at

    def abort(self) -> None:
        self._cut.append(self)


def test_beyond_the_limit_the_oldest_unauthenticated_connection_is_closed() -> None:
    cut: list[FakeConnection] = []
    limits = LoginLimits(limit=3)
    connections = [FakeConnection(cut, at) for at in range(6)]
    for connection in connections[:3]:
        limits.add(connection)
    limits.discard(connections[1])  # it has authenticated
    for connection in connections[3:]:
        limits.add(connection)
    assert [connection.at for connection in cut] == [0, 2]


def test_spared_connections_are_not_closed_but_counted() -> None:
    cut: list[FakeConnection] = []
    limits = LoginLimits(limit=3, most_spared=2, most_anonymous=4)
    connections = [FakeConnection(cut, at) for at in range(8)]

    def is_cut() -> list[int]:
        return [connection.at for connection in cut]

    for connection in connections[:3]:
        limits.add(connection)
        limits.spare(connection)  # the third one is one too many
    limits.add(connections[3])
    assert is_cut() == []
    limits.add(connections[4])  # four are open already
    assert is_cut() == [2]
    limits.add(connections[0])  # its transfer has ended: now it is the newest one
    limits.add(connections[5])
    limits.add(connections[6])
    assert is_cut() == [2, 3, 4]
    limits.discard(connections[1])
    limits.add(connections[7])
    assert is_cut() == [2, 3, 4, 0]


def test_what_is_no_longer_counted_is_not_spared_later() -> None:
    limits = LoginLimits(limit=3, most_spared=1, most_anonymous=3)
    closed, other = FakeConnection([], 0), FakeConnection([], 1)
    limits.spare(closed)
    limits.add(other)
    limits.spare(other)
    assert list(limits._spared) == [other]
    limits.add(third := FakeConnection([], 2))
    limits.spare(third)  # one is spared already
    limits.add(third)
    assert limits._of_network == {"": 1}


def test_a_client_with_many_connections_closes_its_own() -> None:
    """A flood from one address ends no request of another one."""
    cut: list[FakeConnection] = []
    limits = LoginLimits(limit=4)
    for at, network in enumerate(("quiet", "loud", "quiet", *["loud"] * 20)):
        limits.add(FakeConnection(cut, at, network))
    assert {connection.network for connection in cut} == {"loud"}
    assert [connection.at for connection in cut][:3] == [1, 3, 4]
    assert limits._of_network == {"quiet": 2, "loud": 2}
    for connection in list(limits._unauthenticated):
        limits.discard(connection)
    assert not limits._of_network


@pytest.mark.slow
def test_idle_connections_do_not_lock_the_owner_out(tmp_path: Path) -> None:
    """More connections than may be open, each of which sends nothing."""
    with Served(tmp_path) as served, ExitStack() as connections:
        for _ in range(600):
            connections.enter_context(socket.create_connection(("127.0.0.1", served.port), IN_TIME))
        assert served.ask("GET", "/v1/jobs").status == 200


@pytest.mark.slow
def test_an_authenticated_connection_is_never_closed_by_others(tmp_path: Path) -> None:
    with Served(tmp_path) as served, served.follow("/v1/jobs/stream") as owner, ExitStack() as connections:
        assert next(owner).event == "ready"
        for _ in range(600):
            connections.enter_context(socket.create_connection(("127.0.0.1", served.port), IN_TIME))
        assert served.ask("GET", "/v1/jobs").status == 200
        served.submit()
        assert next(owner).event == "jobs"


def test_each_wrong_token_waits_twice_as_long_up_to_a_second() -> None:
    guesses = Guesses()
    delays = [guesses.delay(1000.0 + n) for n in range(12)]
    assert delays[:4] == [0.01, 0.02, 0.04, 0.08]
    assert delays[8:] == [1.0] * 4
    assert guesses.delay(1011.0 + FORGET_SECONDS + 1) == 0.01


def test_the_number_of_delayed_responses_is_limited() -> None:
    async def come(guesses: Guesses) -> str:
        try:
            await guesses.wait()
        except TooManyGuesses:
            return "sent away"
        return "answered"

    async def three() -> list[str]:
        guesses = Guesses(waiting=2)
        return list(await asyncio.gather(*(come(guesses) for _ in range(3))))

    assert asyncio.run(three()) == ["answered", "answered", "sent away"]


def test_guesses_do_not_lock_the_owner_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While responses to wrong tokens are delayed, the right token is answered at once."""
    monkeypatch.setattr(login_limits, "MAX_DELAY_SECONDS", 0.2)
    guess = "GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer wrong-wrong-wrong\r\n\r\n"
    with Served(tmp_path) as served, ExitStack() as connections:
        for _ in range(100):
            one = connections.enter_context(socket.create_connection(("127.0.0.1", served.port), IN_TIME))
            one.sendall(guess.format(served.port).encode())
        assert served.ask("GET", "/v1/jobs").status == 200


@pytest.mark.parametrize("token", ["wrong", "", None])
def test_a_wrong_token_is_answered_and_the_right_one_after_it(tmp_path: Path, token: str | None) -> None:
    with Served(tmp_path) as served:
        assert served.ask("GET", "/v1/jobs", token=token).code == "bad_token"
        assert served.ask("GET", "/v1/jobs").status == 200


def test_a_closed_connection_is_no_longer_counted(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", served.port), IN_TIME):
                pass
        until(lambda: not served._server._login_limits._unauthenticated, "no connection")
