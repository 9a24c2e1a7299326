"""A loopback origin for tests: a real HTTP/1.1 server that misbehaves exactly as scripted.

::

    with Origin() as origin:
        origin.add("config.json", b"{}")
        origin.add("big.bin", Content.random(1, 40_000_000))
        origin.fault("*.json", faults.status(503, retry_after=1), times=2)
        origin.fault("big.bin", faults.cut(at=1000), when=lambda request: request.range is not None)
        fetch(origin.url("/mirror/m/1/config.json"))
        assert [request.status for request in origin.requests] == [503, 503, 200]

A fault turns the good reply to a request into a bad one; it is a value, made by a function of
`tests.origin.faults`. Only bodies count as bytes sent. `python -m tests.origin` serves a model for people.
"""

from tests.origin import faults
from tests.origin.content import Content
from tests.origin.faults.base import Fault
from tests.origin.listener import refusing_port
from tests.origin.message import Reply, Request
from tests.origin.models import ServedModel, model, whisper_like
from tests.origin.proxy import Proxy
from tests.origin.server import Origin

__all__ = [
    "Content",
    "Fault",
    "Origin",
    "Proxy",
    "Reply",
    "Request",
    "ServedModel",
    "faults",
    "model",
    "refusing_port",
    "whisper_like",
]
