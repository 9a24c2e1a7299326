"""While one gateway is silent the others are asked early, each once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.sources import ipfs_hedge
from modelfetch.sources.ipfs_gateway import Gateway as AskedGateway
from modelfetch.sources.ipfs_hedge import Hedge
from tests.gateways.dags import Dag, random_bytes
from tests.gateways.gateway import Gateway, Status
from tests.gateways.reading import offers_of, read_checked
from tests.patience import HELD, IN_TIME
from tests.server.running import until

DATA = random_bytes(5000)
LIMIT = 3.0
"""Seconds for the first byte; long enough for the others to be asked meanwhile."""


@pytest.fixture
def dag() -> Dag:
    return Dag()


@pytest.fixture
def gateways(dag: Dag, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gateway]]:
    monkeypatch.setattr(ipfs_hedge, "SILENCE", 0.05)
    with ExitStack() as stack:
        yield [stack.enter_context(Gateway(dag)) for _ in range(3)]


def failure(act: Callable[[], object]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        act()
    return caught.value


@pytest.mark.slow
def test_silent_gateways_cost_their_time_once_together(
    client: Client, gateways: list[Gateway], dag: Dag
) -> None:
    cid = dag.file(DATA)
    for gateway in gateways:
        gateway.faults.stall = 0
    for offer in offers_of(client, [each.url for each in gateways], DATA, cid):
        assert failure(lambda offer=offer: offer.leaf_table(LIMIT)).fault is Fault.TIMEOUT  # type: ignore[misc]
        # From the end of the first turn on: the time of the others runs since then, not since their turn.
        until(lambda: [len(gateway.requests) for gateway in gateways] == [1, 1, 1])


@pytest.mark.slow
def test_the_turn_of_a_gateway_begins_with_its_early_answer(
    client: Client, gateways: list[Gateway], dag: Dag
) -> None:
    cid = dag.file(DATA)
    gateways[0].faults.stall = 0
    gateways[1].faults.refuses = {"raw": Status(404)}
    first, second, third = offers_of(client, [each.url for each in gateways], DATA, cid)
    assert failure(lambda: first.leaf_table(LIMIT)).fault is Fault.TIMEOUT
    assert failure(lambda: second.leaf_table(LIMIT)).fault is Fault.NOT_FOUND
    assert len(gateways[1].requests) == 1, "it was not asked again in its turn"
    assert read_checked(third, first_byte=LIMIT) == DATA


def test_each_turn_begins_with_what_its_gateway_answered_early(
    client: Client, gateways: list[Gateway], dag: Dag
) -> None:
    gateways[1].faults.refuses = {"raw": Status(404)}
    first, second, third = (AskedGateway(each.url, client) for each in gateways)
    hedge = Hedge([first, second, third], dag.file(DATA))
    with hedge.waiting(first, IN_TIME):
        until(lambda: bool(gateways[1].requests and gateways[2].requests))
    assert failure(hedge.waiting(second, IN_TIME).__enter__).fault is Fault.NOT_FOUND
    with hedge.waiting(second, IN_TIME), hedge.waiting(third, IN_TIME):
        pass
    assert [len(gateway.requests) for gateway in gateways] == [0, 1, 1]


def test_without_a_limit_no_gateway_is_asked_early(client: Client, gateways: list[Gateway], dag: Dag) -> None:
    cid = dag.file(DATA)
    gateways[0].replies = [Status(504)]
    first, *_ = offers_of(client, [each.url for each in gateways], DATA, cid)
    assert failure(first.leaf_table).fault is Fault.SERVER
    time.sleep(0.1)
    assert gateways[1].requests == gateways[2].requests == []


def test_an_answer_in_time_keeps_the_others_out(
    client: Client, gateways: list[Gateway], dag: Dag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipfs_hedge, "SILENCE", HELD)
    cid = dag.file(DATA)
    first, *_ = offers_of(client, [each.url for each in gateways], DATA, cid)
    assert read_checked(first, first_byte=IN_TIME) == DATA
    for thread in threading.enumerate():
        if thread.name == "modelfetch-gateways":
            thread.join(IN_TIME)
            assert not thread.is_alive(), "it asks the others"
    assert gateways[1].requests == gateways[2].requests == []


def test_a_gateway_that_answered_before_is_waited_for(
    client: Client, gateways: list[Gateway], dag: Dag, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = dag.file(DATA)
    first, *_ = offers_of(client, [each.url for each in gateways], DATA, cid)
    with monkeypatch.context() as patched:
        patched.setattr(ipfs_hedge, "SILENCE", HELD)
        first.leaf_table(IN_TIME)
    gateways[0].faults.stall = 0
    assert failure(lambda: first.open(0, first_byte=0.2)).fault is Fault.TIMEOUT
    assert gateways[1].requests == gateways[2].requests == []
