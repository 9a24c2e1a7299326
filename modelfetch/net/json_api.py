"""HTTP client for the JSON API of one modelfetch server.

All requests go to one origin and carry one token; redirects are not followed, so the token cannot leave that
origin. Responses are JSON documents or streams of server-sent events (:mod:`modelfetch.net.sse`).
"""

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
from modelfetch.net.httpx_client import new_client
from modelfetch.net.httpx_errors import source_error
from modelfetch.net.sse import Message, Parser

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

CONNECT_SECONDS: Final = 10.0
"""Timeout for a connection."""
ANSWER_SECONDS: Final = 30.0
"""Read timeout, chosen for the slowest request, which measures a cache of many thousand files."""
STREAM_SECONDS: Final = 30.0
"""Read timeout of a stream: three heartbeats of the server."""
ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Largest response in bytes; the largest real one describes a model of 50,000 files."""
EVENT_STREAM: Final = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response."""

    status: int
    kind: str
    """Media type without parameters; may be empty."""
    body: bytes

    @property
    def document(self) -> dict[str, Any] | None:
        """The body as a JSON object; None if it is anything else."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None


class Stream:
    """A stream of server-sent events.

    Attributes:
        date: Start of the stream by the server's clock (``Date``), in seconds since 1970; None if not stated.
    """

    def __init__(self, response: httpx.Response, api: Api) -> None:
        self.date = _date(response)
        self._response = response
        self._api = api

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield the messages of each received piece; an empty list for a heartbeat.

        Raises:
            SourceError: The stream was cut, stalled, or sent an oversized message.
            Cancelled: The run was cancelled.
        """
        parser = Parser()
        with self._api.translated(body=True):
            for piece in self._response.iter_raw():
                try:
                    yield parser.feed(piece)
                except ValueError as error:
                    raise SourceError(Fault.PROTOCOL, str(error)) from error
        self._api.cancel.raise_if_cancelled()  # a connection shut down by cancel() looks like the regular end

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


class Api:
    """The HTTP API of one server; may be used by several threads.

    Attributes:
        cancel: Ends streams when the run is cancelled.

    Args:
        base: Scheme, host, port and path, without a slash at the end. Requests go to this origin only.
        token: Bearer token, sent with every request.
        cancel: See above.
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

    def request(
        self, method: str, path: str, document: object = None, *, seconds: float = ANSWER_SECONDS
    ) -> Reply:
        """Send a request and read the response, whatever its status.

        Args:
            method: HTTP method.
            path: Path below ``base``; begins with a slash.
            document: Sent as JSON; None sends no body.
            seconds: Timeout in seconds for each step, such as connecting or a read.

        Raises:
            SourceError: No response was received.
            Cancelled: The run was cancelled.
        """
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS), pool=None)
        with self.translated(body=False):
            request = self._http.build_request(
                method, self._base + path, json=document, headers=self._headers(), timeout=timeout
            )
            return _read(self._http.send(request, stream=True, auth=None))

    def listen(self, path: str, after: int | None, *, seconds: float = STREAM_SECONDS) -> Stream | Reply:
        """Open a stream of events.

        Args:
            path: Path below ``base``; begins with a slash.
            after: Number of the last known event (``Last-Event-ID``); None for the stream from its beginning.
            seconds: Read timeout in seconds.

        Returns:
            The stream, which the caller must close; or the response, if it is no stream.

        Raises:
            SourceError: No response was received.
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
        """Translate exceptions of httpx; see :func:`modelfetch.net.httpx_errors.source_error`."""
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            self.cancel.raise_if_cancelled()
            raise source_error(error, body=body, proxy=self._proxies.proxy_for(self._base)) from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _wake_on_cancel(self, response: httpx.Response) -> None:
        sock = response.extensions["network_stream"].get_extra_info("socket")
        if isinstance(sock, socket.socket):
            self.cancel.register(sock)


def _read(response: httpx.Response) -> Reply:
    """Read a whole response; raises SourceError if it is larger than :data:`ANSWER_BYTES`."""
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
