"""Crowds before the door: those who say nothing, and those who guess."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from modelfetch.server.login_limits import FORGET_SECONDS, Guesses, LoginLimits, TooManyGuesses
from tests.patience import IN_TIME
from tests.server.running import Served, until


class Seat:
    """A connection that only remembers whether it was cut."""

    def __init__(self, seats: list[Seat], at: int) -> None:
        self.is_authenticated = False
        self._cut = seats
        self.at = at

    def abort(self) -> None:
        self._cut.append(self)


def test_one_stranger_too_many_and_the_oldest_goes() -> None:
    cut: list[Seat] = []
    door = LoginLimits(limit=3)
    seats = [Seat(cut, at) for at in range(6)]
    for seat in seats[:3]:
        door.add(seat)
    door.discard(seats[1])  # it is known now
    for seat in seats[3:]:
        door.add(seat)
    assert [seat.at for seat in cut] == [0, 2]


def test_an_idle_crowd_does_not_keep_the_owner_out(tmp_path: Path) -> None:
    """More connections than may be open at all, each of which says nothing."""
    with Served(tmp_path) as served, ExitStack() as crowd:
        for _ in range(600):
            crowd.enter_context(socket.create_connection(("127.0.0.1", served.port), IN_TIME))
        assert served.ask("GET", "/v1/jobs").status == 200


def test_who_showed_the_token_stays_however_many_come(tmp_path: Path) -> None:
    with Served(tmp_path) as served, served.follow("/v1/jobs/stream") as owner, ExitStack() as crowd:
        assert next(owner).event == "ready"
        for _ in range(600):
            crowd.enter_context(socket.create_connection(("127.0.0.1", served.port), IN_TIME))
        assert served.ask("GET", "/v1/jobs").status == 200
        served.submit()
        assert next(owner).event == "jobs"


def test_each_wrong_token_waits_twice_as_long_up_to_a_second() -> None:
    guesses = Guesses()
    delays = [guesses.delay(1000.0 + n) for n in range(12)]
    assert delays[:4] == [0.01, 0.02, 0.04, 0.08]
    assert delays[8:] == [1.0] * 4
    assert guesses.delay(1011.0 + FORGET_SECONDS + 1) == 0.01


def test_no_more_wait_than_may() -> None:
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


def test_a_crowd_that_guesses_does_not_keep_the_owner_out(tmp_path: Path) -> None:
    """While many wrong tokens wait for their answers, the right one has its own at once."""
    guess = "GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer wrong-wrong-wrong\r\n\r\n"
    with Served(tmp_path) as served, ExitStack() as crowd:
        for _ in range(100):
            one = crowd.enter_context(socket.create_connection(("127.0.0.1", served.port), IN_TIME))
            one.sendall(guess.format(served.port).encode())
        assert served.ask("GET", "/v1/jobs").status == 200


@pytest.mark.parametrize("token", ["wrong", "", None])
def test_a_wrong_token_is_answered_and_the_right_one_after_it(tmp_path: Path, token: str | None) -> None:
    with Served(tmp_path) as served:
        assert served.ask("GET", "/v1/jobs", token=token).code == "bad_token"
        assert served.ask("GET", "/v1/jobs").status == 200


def test_a_connection_that_left_makes_room(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", served.port), IN_TIME):
                pass
        until(lambda: not served._server._login_limits._unauthenticated, "nobody to be left")
