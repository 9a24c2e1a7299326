"""Sends one request through the client, and collects its result."""

from __future__ import annotations

import math
import traceback
from contextlib import closing
from dataclasses import dataclass

import pytest

from modelfetch.errors import SourceError
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Limits, Memory
from tests.origin import Content
from tests.patience import HELD

CONTENT = Content.random("file", 100_000)
FILE = CONTENT.data
SIZE = len(FILE)
CANARY = "s3cr3t-canary"

PATIENT = Limits(connect_timeout=HELD, stall_timeout=HELD, min_speed=0.0)
"""For tests without delays: no timeout is ever reached."""
NEARLY_ALL = HELD - 0.1
"""Seconds of fake time after which a client of these limits has 0.1 s of patience left."""
HASTY = Limits(connect_timeout=HELD, stall_timeout=0.2, min_speed=20_000.0)
"""For servers that never answer: that is noticed soon. On a busy machine a good one may be late as well."""

BOTH_WAYS = pytest.mark.parametrize(
    "direct_from", [0, math.inf], ids=["from the socket", "through httpx"], indirect=True
)
"""Runs a test twice: with every possible body read from the socket directly, and with none."""


@dataclass(frozen=True, slots=True)
class Got:
    """The result of one request.

    Attributes:
        start: Offset of the first byte; -1 when no answer was accepted.
        data: The bytes yielded.
        error: How it ended, None if well.
    """

    start: int
    data: bytes
    error: SourceError | None = None

    @property
    def failure(self) -> SourceError:
        """The error; fails the test if there is none."""
        assert self.error is not None, f"no failure, but {len(self.data)} bytes from {self.start}"
        return self.error


def get(
    client: Client,
    url: str,
    start: int = 0,
    *,
    size: int = SIZE,
    credential: Credential | None = None,
    memory: Memory | None = None,
) -> Got:
    """Request the rest of the file and read it to the end."""
    at, data = -1, bytearray()
    try:
        body = client.request(
            url, RangeRequest(start, size), credential=credential, memory=memory or Memory()
        )
        at = body.start
        with closing(body):
            for piece in body:
                data += piece
    except SourceError as error:
        return Got(at, bytes(data), error)
    return Got(at, bytes(data))


def everything_shown(error: SourceError) -> str:
    """All that a log, a message or a traceback could show of an error and of what caused it."""
    return "".join([repr(error), error.hint, *traceback.format_exception(error)])
