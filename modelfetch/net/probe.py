"""Asking hosts whether they are there: one small request each, all at once, none for longer than a moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import httpx

from modelfetch.errors import SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net import proxies
from modelfetch.net.errors import source_error
from modelfetch.net.httpx_client import new_client
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.net.proxies import Proxies, Proxy

LIMIT_SECONDS = 5.0
"""How long an answer is waited for: a host slower than that is of no use for anything."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request."""

    url: str
    is_head: bool = True
    """Whether to ask for the head only; else for one byte."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int | None
    """Status code; None when there was no answer."""
    seconds: float
    """Until the head of the answer, or until the failure."""
    error: str
    """Why there was no answer, or empty."""


def probe(questions: Sequence[Question], limit: float = LIMIT_SECONDS) -> list[Reply]:
    """Ask all at once. No redirect is followed, no credential is sent, no body is read."""
    replies = [Reply(None, limit, f"no answer within {limit:g} s") for _ in questions]
    through = proxies.from_environment()
    client = new_client(httpx.Timeout(limit), through=through)

    def ask(number: int) -> None:
        replies[number] = _ask(client, through, questions[number])

    until = time.monotonic() + limit
    threads = []
    for number in range(len(questions)):
        if thread := start(partial(ask, number), f"modelfetch-probe-{number}"):
            threads.append(thread)
        elif time.monotonic() < until:  # one by one, where there are no threads to be had
            ask(number)
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return list(replies)  # what comes later is too late


def _ask(client: httpx.Client, through: Proxies, question: Question) -> Reply:
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
