"""Fixtures: servers of one test, closed with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from modelfetch.remote import ServerClient
from tests.remote.scripted import Answer, Script, serving

Connect = Callable[[dict[str, list[Answer]]], tuple[ServerClient, Script]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Serve scripted answers, and return a client for them."""
    with ExitStack() as stack:

        def begin(answers: dict[str, list[Answer]]) -> tuple[ServerClient, Script]:
            script = Script(answers)
            address = stack.enter_context(serving(script))
            return stack.enter_context(closing(ServerClient(address))), script

        yield begin
