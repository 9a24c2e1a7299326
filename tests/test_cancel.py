"""One switch ends all work of a run; a child of it ends a part of that work alone."""

from __future__ import annotations

import socket
import threading

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from tests.patience import IN_TIME


def test_a_child_ends_alone() -> None:
    parent = Cancellation()
    child, other = parent.child(), parent.child()
    child.cancel()
    assert child.cancelled
    assert not parent.cancelled
    assert not other.cancelled


def test_the_parent_ends_every_child_and_their_children() -> None:
    parent = Cancellation()
    child = parent.child()
    grandchild = child.child()
    parent.cancel()
    for each in (child, grandchild):
        with pytest.raises(Cancelled):
            each.raise_if_cancelled()


def test_a_child_of_a_cancelled_parent_is_cancelled() -> None:
    parent = Cancellation()
    parent.cancel()
    assert parent.child().cancelled


def test_a_wait_on_a_child_ends_with_the_parent() -> None:
    parent = Cancellation()
    child = parent.child()
    threading.Timer(0.05, parent.cancel).start()
    with pytest.raises(Cancelled):
        child.sleep(IN_TIME)


def test_a_child_wakes_its_own_sockets_and_the_parent_those_of_both() -> None:
    parent = Cancellation()
    child = parent.child()
    pairs = [socket.socketpair() for _ in range(2)]
    for (ours, theirs), cancel in zip(pairs, (child, parent), strict=True):
        ours.settimeout(IN_TIME)
        theirs.setblocking(False)
        cancel.register(ours)
    child.cancel()
    assert pairs[0][0].recv(1) == b""
    with pytest.raises(BlockingIOError):
        pairs[1][1].recv(1)
    parent.cancel()
    assert pairs[1][0].recv(1) == b""
    for pair in pairs:
        for each in pair:
            each.close()
