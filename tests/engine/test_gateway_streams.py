"""Gateways limit the requests of each client, so each gets one stream for a file."""

from __future__ import annotations

import threading
import time

import pytest

from modelfetch.engine.parallel import THREAD_NAME
from modelfetch.engine.speed_probe import SpeedProbe
from tests.engine.fakes import EAGER, Answer, Laboratory, body, code, model
from tests.server.running import until

CONTENT = body(900_000)
MODEL = model("m", {"f.bin": CONTENT})


def pause() -> None:
    time.sleep(0.002)


SLOW = Answer(piece=20_000, before_piece=pause)


def test_a_gateway_is_asked_once_for_all(lab: Laboratory) -> None:
    gateway = lab.serve(CONTENT, SLOW, kind="ipfs", host="gateway.example")
    assert code(lab.ensure(MODEL, runtime=lab.runtime(split_policy=EAGER))) == 0
    assert gateway.asked == [0]


def test_nothing_is_cut_from_what_a_gateway_is_about_to_be_asked_for(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other threads of the file look for work between the begin of the request and its range."""
    ask = SpeedProbe.ask

    def slowly(self: SpeedProbe, *, over_tls: bool = False) -> None:
        ask(self, over_tls=over_tls)
        until(lambda: all(thread.name != THREAD_NAME for thread in threading.enumerate()))

    monkeypatch.setattr(SpeedProbe, "ask", slowly)
    gateway = lab.serve(CONTENT, kind="ipfs", host="gateway.example")
    assert code(lab.ensure(MODEL, runtime=lab.runtime(split_policy=EAGER))) == 0
    assert gateway.asked == [0]


def test_no_gateway_has_two_streams_at_the_same_time(lab: Laboratory) -> None:
    names = ("a.example", "b.example")
    most = dict.fromkeys(names, 0)
    runtime = lab.runtime(split_policy=EAGER)

    def watch() -> None:
        for host in names:
            most[host] = max(most[host], runtime.hosts.connections(host))
        pause()

    answer = Answer(piece=20_000, before_piece=watch)
    for host in names:
        lab.serve(CONTENT, answer, kind="ipfs", host=host)
    runtime = lab.runtime(split_policy=EAGER)  # with both gateways
    assert code(lab.ensure(MODEL, runtime=runtime)) == 0
    assert most["a.example"] == 1
    assert most["b.example"] <= 1
