"""Checks whether hosts answer: one small request to each, all in parallel, with a short time limit.

No redirect is followed, no credential is sent, and no body is read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import httpx

from modelfetch.errors import SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net import proxies
from modelfetch.net.httpx_client import new_client
from modelfetch.net.httpx_errors import source_error
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.net.proxies import Proxies, Proxy

LIMIT_SECONDS = 5.0
"""Time limit for a response in seconds; a slower host would not be useful as a source."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request to send."""

    url: str
    is_head: bool = True
    """Whether to send HEAD; otherwise GET for one byte."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of one request."""

    status: int | None
    """Status code; None if there was no response."""
    seconds: float
    """Seconds until the head of the response, or until the failure."""
    error: str
    """Why there was no response, or empty."""


def probe(questions: Sequence[Question], limit: float = LIMIT_SECONDS) -> list[Reply]:
    """Send all requests in parallel, and return the results in the same order.

    Args:
        questions: The requests.
        limit: Seconds for all of them together.
    """
    replies = [Reply(None, limit, f"no answer within {limit:g} s") for _ in questions]
    through = proxies.from_environment()
    client = new_client(httpx.Timeout(limit), through=through)

    def send(number: int) -> None:
        replies[number] = _send(client, through, questions[number])

    until = time.monotonic() + limit
    threads = []
    for number in range(len(questions)):
        if thread := start(partial(send, number), f"modelfetch-probe-{number}"):
            threads.append(thread)
        elif time.monotonic() < until:  # one by one if the system refuses more threads
            send(number)
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return list(replies)  # a copy: threads that are still running write to the original


def _send(client: httpx.Client, through: Proxies, question: Question) -> Reply:
    began = time.monotonic()
    headers = {} if question.is_head else {"Range": "bytes=0-0"}
    proxy: Proxy | None = None
    try:
        proxy = through.proxy_for(question.url)
        with client.stream("HEAD" if question.is_head else "GET", question.url, headers=headers) as response:
            return Reply(response.status_code, time.monotonic() - began, "")
    except SourceError as error:  # a proxy or certificate variable cannot be used
        return Reply(None, time.monotonic() - began, error.message)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        message = source_error(error, body=False, proxy=proxy).message
        return Reply(None, time.monotonic() - began, message)
