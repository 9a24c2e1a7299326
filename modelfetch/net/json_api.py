"""JSON over HTTP with one server: one origin, one token, no redirect followed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import media_type
from modelfetch.net import proxies
from modelfetch.net.errors import source_error
from modelfetch.net.httpx_client import new_client
from modelfetch.net.sse import Message, Parser

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 30.0
"""Longest silence before and in an answer; the slowest one measures a cache of many thousand files."""
STREAM_SECONDS: Final = 30.0
"""Longest silence in a stream: three of the server's heartbeats."""
ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Bytes of an answer at most; the largest describes a model of 50,000 files."""
EVENT_STREAM: Final = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole."""

    status: int
    kind: str
    """Its media type, without parameters; may be empty."""
    body: bytes

    @property
    def document(self) -> dict[str, Any] | None:
        """The JSON object it is; None when it is something else."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None


class Stream:
    """A stream of server-sent events, as long as it lasts.

    Attributes:
        date: When it began by the server's own clock, in seconds since 1970; None when it does not say.
    """

    def __init__(self, response: httpx.Response, api: Api) -> None:
        self.date = _date(response)
        self._response = response
        self._api = api

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield what each piece of the stream brought, which for a heartbeat is nothing.

        Raises:
            SourceError: It was cut, fell silent, or sent what cannot be taken.
            Cancelled: The run was cancelled.
        """
        parser = Parser()
        with self._api.translated(body=True):
            for piece in self._response.iter_raw():
                try:
                    yield parser.feed(piece)
                except ValueError as error:
                    raise SourceError(Fault.PROTOCOL, str(error)) from error
        self._api.cancel.check()  # a cancelled connection can look like one that ended in order

    def close(self) -> None:
        """Hang up."""
        self._response.close()


class Api:
    """The HTTP API of one server; may be used by several threads.

    Attributes:
        cancel: Ends streams that are under way.

    Args:
        base: Scheme, host, port and path, without a slash at the end. No other origin is ever asked.
        token: Sent with every request.
    """

    def __init__(self, base: str, token: str, cancel: Cancellation) -> None:
        self._base = base
        self._token = token
        self.cancel = cancel
        self._proxies = proxies.from_environment()
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None)
        self._http = new_client(timeout, through=self._proxies)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def ask(
        self, method: str, path: str, document: object = None, *, seconds: float = ANSWER_SECONDS
    ) -> Reply:
        """Ask, and read the answer, whatever it is.

        Args:
            method: Of HTTP.
            path: Begins with a slash.
            document: Sent as JSON; None sends no body.
            seconds: How long to wait for each step: a connection, an answer.

        Raises:
            SourceError: There was no answer.
            Cancelled: The run was cancelled.
        """
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS), pool=None)
        with self.translated(body=False):
            request = self._http.build_request(
                method, self._base + path, json=document, headers=self._headers(), timeout=timeout
            )
            return _read(self._http.send(request, stream=True, auth=None))

    def listen(self, path: str, after: int | None, *, seconds: float = STREAM_SECONDS) -> Stream | Reply:
        """Ask for a stream of events.

        Args:
            path: Begins with a slash.
            after: Number of the last event that is known; None for the stream from its beginning.
            seconds: Longest silence.

        Returns:
            The stream, which must be closed; or the answer that came in its place.

        Raises:
            SourceError: There was no answer.
            Cancelled: The run was cancelled.
        """
        headers = self._headers() | {"Accept": EVENT_STREAM}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS, pool=None)
        with self.translated(body=False):
            request = self._http.build_request("GET", self._base + path, headers=headers, timeout=timeout)
            response = self._http.send(request, stream=True, auth=None)
            if response.status_code != 200 or _kind(response) != EVENT_STREAM:
                return _read(response)
        self._wake_on_cancel(response)
        return Stream(response, self)

    @contextmanager
    def translated(self, *, body: bool) -> Iterator[None]:
        """Make httpx's exceptions ours; see :func:`modelfetch.net.errors.source_error`."""
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            self.cancel.check()
            raise source_error(error, body=body, proxy=self._proxies.proxy_for(self._base)) from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _wake_on_cancel(self, response: httpx.Response) -> None:
        sock = response.extensions["network_stream"].get_extra_info("socket")
        if isinstance(sock, socket.socket):
            self.cancel.register(sock)


def _read(response: httpx.Response) -> Reply:
    try:
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > ANSWER_BYTES:
                raise SourceError(Fault.PROTOCOL, f"sent more than {ANSWER_BYTES} bytes")
        return Reply(response.status_code, _kind(response), bytes(body))
    finally:
        response.close()


def _kind(response: httpx.Response) -> str:
    return media_type(str(response.headers.get("content-type", "")))


def _date(response: httpx.Response) -> float | None:
    try:
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
