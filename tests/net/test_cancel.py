"""Cancellation wakes every wait at once, and no further request is sent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.net.client import Client
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Memory
from tests.net.asking import BOTH_WAYS, FILE, PATIENT, SIZE
from tests.origin import Fault as OriginFault
from tests.origin import Origin, faults
from tests.patience import HELD, IN_TIME

PATH = "/files/big.bin"


@pytest.fixture
def cancel() -> Cancellation:
    return Cancellation()


@pytest.fixture
def client(cancel: Cancellation, direct_from: float) -> Iterator[Client]:
    client = Client(replace(PATIENT, direct_from=direct_from), cancel)
    yield client
    client.close()


def read(client: Client, origin: Origin, into: bytearray) -> None:
    body = client.request(origin.url(PATH), RangeRequest(0, SIZE), credential=None, memory=Memory())
    try:
        for piece in body:
            into += piece
    finally:
        body.close()


def seconds_to_stop(cancel: Cancellation, wait: Callable[[], object], when: Callable[[], object]) -> float:
    """Run ``wait``, cancel once ``when`` returns, and return the seconds until ``wait`` raised Cancelled."""
    cancelled_at: list[float] = []

    def cancel_soon() -> None:
        when()
        time.sleep(0.03)  # until the waiting side is in its system call
        cancelled_at.append(time.monotonic())
        cancel.cancel()

    thread = threading.Thread(target=cancel_soon)
    thread.start()
    try:
        with pytest.raises(Cancelled):
            wait()
        return time.monotonic() - cancelled_at[0]
    finally:
        thread.join()


@pytest.mark.quick(every=5)
@BOTH_WAYS
@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (faults.stall(), 0),
        (faults.stall_head(40), 0),
        (faults.stall(0), 0),
        (faults.stall(1000), 1000),
        (faults.all_of(faults.no_length(), faults.stall(1000)), 1000),
        (faults.all_of(faults.chunked(), faults.stall(1000)), 1000),
    ],
    ids=["before the head", "inside the head", "before the body", "inside the body", "no length", "chunked"],
)
def test_a_blocked_read_wakes_at_once(
    served: Origin, client: Client, cancel: Cancellation, fault: OriginFault, kept: int
) -> None:
    served.fault("*", fault)
    data = bytearray()

    def stalled() -> None:
        served.until(lambda origin: len(origin.requests) == 1)

    assert seconds_to_stop(cancel, lambda: read(client, served, data), stalled) < IN_TIME
    # Bytes that had arrived before the cancellation may still be yielded.
    assert bytes(data) in (b"", FILE[:kept]), "nothing but the file: no ciphertext, no byte too many"


def test_a_read_on_a_reused_connection_wakes_too(
    served: Origin, client: Client, cancel: Cancellation
) -> None:
    read(client, served, bytearray())
    served.fault("*", faults.stall(1000))

    def stalled() -> None:
        served.until(lambda origin: len(origin.requests) == 2)

    assert seconds_to_stop(cancel, lambda: read(client, served, bytearray()), stalled) < IN_TIME
    assert served.connections == 1


def test_after_cancelling_nothing_is_requested(origin: Origin, client: Client, cancel: Cancellation) -> None:
    cancel.cancel()
    with pytest.raises(Cancelled):
        read(client, origin, bytearray())
    assert origin.connections == 0


@BOTH_WAYS
def test_a_body_that_still_flows_ends(origin: Origin, client: Client, cancel: Cancellation) -> None:
    origin.pace = 1000
    body = client.request(origin.url(PATH), RangeRequest(0, SIZE), credential=None, memory=Memory())
    pieces = iter(body)
    assert next(pieces)
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(pieces)
    body.close()


# Cancellation alone


def test_a_sleep_ends_when_cancelled(cancel: Cancellation) -> None:
    assert seconds_to_stop(cancel, lambda: cancel.sleep(HELD), lambda: None) < IN_TIME


def test_a_sleep_without_cancel_takes_its_time(cancel: Cancellation) -> None:
    started = time.monotonic()
    cancel.sleep(0.05)
    cancel.sleep(-1)
    assert 0.04 < time.monotonic() - started < IN_TIME


def test_a_connection_made_after_cancelling_is_no_use(cancel: Cancellation) -> None:
    """It was being made when the run was cancelled: a read from it must not block."""
    ours, theirs = socket.socketpair()
    cancel.cancel()
    with ours, theirs:
        ours.settimeout(IN_TIME)
        cancel.register(ours)
        assert ours.recv(1) == b""


def test_a_cancelled_switch_stays_so(cancel: Cancellation) -> None:
    cancel.raise_if_cancelled()
    assert not cancel.cancelled
    for _ in range(2):
        cancel.cancel()
    assert cancel.cancelled
    with pytest.raises(Cancelled):
        cancel.raise_if_cancelled()
    with pytest.raises(Cancelled):
        cancel.sleep(0)
