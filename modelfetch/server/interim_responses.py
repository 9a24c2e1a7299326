"""Interim responses (1xx), which keep a client waiting while its file is fetched.

A client ends a request after some seconds without a byte: 10 for Hugging Face's. An interim response is a
byte, and says nothing else; any number of them may come before the final one (RFC 9110, 15.2)::

    HTTP/1.1 100 Continue

    HTTP/1.1 200 OK
    ETag: "a9f3b752833b49e880dec91ee5b6d936112be7c3ea07c221024ba493439f46fe"

No status suits all clients, so it is chosen by ``User-Agent``:

=================  ======================================================================================
100 Continue       Python's: ``http.client``, and with it ``requests`` and ``urllib3``, takes any other
                   interim status for the final one. httpx accepts all of them.
102 Processing     Node's ``fetch`` (undici), which ends the connection at an unexpected 100, and browsers.
none               all others. curl and Go's client, as in skopeo and Docker, wait without a limit, and older
                   Go ends a request after five interim responses. So does modelfetch, which limits the
                   time until the first byte of a file anyway, and then asks the next source.
=================  ======================================================================================

A reverse proxy must get none, whatever client is behind it: nginx 1.22 takes one for the final response. A
proxy is recognized by what it adds, and by what it does not pass on: ``Connection`` is for one hop only
(RFC 9110, 7.6.1), and all of these clients send ``keep-alive``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from modelfetch.server.pull_results import client_gone
from modelfetch.server.request_scope import connection_of, joined_headers

if TYPE_CHECKING:
    from starlette.types import Scope

INTERIM_SECONDS: Final = 2.0
"""Seconds between two interim responses: a fifth of the read timeout of ``huggingface_hub``, so that a busy
server and a timeout that a user made shorter leave a margin. Each has 25 bytes."""

_OF_PROXIES: Final = frozenset(
    {"via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
)
"""Headers that proxies add."""
_CONTINUE: Final = 100
_PROCESSING: Final = 102
_REASONS: Final = {_CONTINUE: "Continue", _PROCESSING: "Processing"}
_PYTHON: Final = re.compile(r"hf_hub|python|urllib|httpx|modelpack", re.IGNORECASE)
_JAVASCRIPT: Final = re.compile(r"transformers\.js|undici|\bnode\b|\bbun\b|\bdeno\b|mozilla/", re.IGNORECASE)


def interim_status(http_version: str, headers: Mapping[str, str]) -> int | None:
    """Return the interim status that a client waits on, or None if it must get none.

    Args:
        http_version: Of the request, such as ``1.1``. Version 1.0 has no interim responses.
        headers: Of the request, with names in lower case.
    """
    is_direct = headers.get("connection", "").lower() == "keep-alive" and _OF_PROXIES.isdisjoint(headers)
    if http_version != "1.1" or not is_direct:
        return None
    agent = headers.get("user-agent", "")
    if _JAVASCRIPT.search(agent):  # first: huggingface.js runs in browsers that name other programs, too
        return _PROCESSING
    return _CONTINUE if _PYTHON.search(agent) else None


class InterimResponses:
    """Keeps the client of one request waiting. Used by the event loop only.

    Args:
        scope: Of the request.
        seconds: Seconds between two interim responses.
    """

    def __init__(self, scope: Scope, seconds: float = INTERIM_SECONDS) -> None:
        self._status = interim_status(scope.get("http_version", "1.1"), joined_headers(scope))
        self._connection = connection_of(scope)
        self._seconds = seconds
        self._due_at = time.monotonic() + seconds

    def keep_waiting(self) -> None:
        """Send an interim response if one is due; to be called again and again while the client waits.

        Without effect once the head of the final response was sent, but for the check of the connection.

        Raises:
            Refusal: The client has closed the connection, so there is nothing to wait for.
        """
        if self._connection is None:
            return
        if self._connection.is_lost:
            raise client_gone()
        if self._status is not None and time.monotonic() >= self._due_at:
            self._connection.send_interim(self._status, _REASONS[self._status])
            self._due_at = time.monotonic() + self._seconds
