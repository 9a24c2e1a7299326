"""Who may ask for what: a pure decision about the head of each request, and what carries it out.

The rules stand in ``docs/reference/http-api.md``. They hold before anything else looks at a request.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote
from modelfetch.server import error_responses
from modelfetch.server.connection_timeouts import GUEST, Connection
from modelfetch.server.error_responses import Refusal, refuse
from modelfetch.server.login_limits import Crowded, Guesses

if TYPE_CHECKING:
    from modelfetch.server.listen_address import Address

BODY: Final = 64 * 1024
"""Bytes of a body at most: an order is a hundred."""
FIELDS: Final = 64
"""Header fields at most: browsers send about fifteen."""
HEAD: Final = 16 * 1024
"""Bytes of the head at most."""
BODY_SECONDS: Final = 10.0
"""How long a body may take."""

PUBLIC: Final = "/static/"
"""What lies below it, and the panel itself (``/``), hold no data and need no token; all else does."""
_SAFE: Final = frozenset({"GET", "HEAD"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})

_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""In every answer, unless it has a value of its own. There is no CORS header, ever."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request."""

    method: str
    path: str
    """The path as it is routed: decoded, without the query."""
    fields: Sequence[tuple[str, str]]
    """Names in lower case, and values, in their order."""

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str | None:
        """The value of a header; None when there is none, or more than one."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None


def judge(request: Request, address: Address, token: str) -> Refusal | None:
    """Decide about a request; None lets it pass."""
    return judge_caller(request, address) or judge_token(request, token) or judge_body(request)


def judge_caller(request: Request, address: Address) -> Refusal | None:
    """Decide whether it was made for this server, by somebody who may."""
    return _judge_size(request) or _judge_host(request, address) or _judge_origin(request, address)


def _judge_size(request: Request) -> Refusal | None:
    size = len(request.path) + sum(len(name) + len(value) for name, value in request.fields)
    if len(request.fields) > FIELDS or size > HEAD:
        message = f"the head has more than {FIELDS} fields or {HEAD} bytes"
        return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message)
    return None


def _judge_host(request: Request, address: Address) -> Refusal | None:
    """Answer to our own names only. A target that is no path is for a proxy, and names a host of its own."""
    host, forwarded = request.one("host"), request.all("x-forwarded-host")
    if request.path.startswith("/") and host is not None and all(map(address.allows, [host, *forwarded])):
        return None
    named = quote((forwarded or request.all("host") or [""])[0])
    return Refusal(
        HTTPStatus.MISDIRECTED_REQUEST,
        "wrong_host",
        f"this server is not {named}",
        f"Use {address.shown} or another address of it, with the port; "
        "behind a reverse proxy, give `modelfetch serve` the --public-url.",
    )


def _judge_origin(request: Request, address: Address) -> Refusal | None:
    """Refuse what a page of somebody else makes a browser send; only a link to the panel may be followed."""
    origins, sites = request.all("origin"), request.all("sec-fetch-site")
    if all(map(address.allows_origin, origins)) and (_OWN_SITE.issuperset(sites) or _is_link(request)):
        return None
    message = "a page of another origin may not use this server"
    return Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", message)


def _is_link(request: Request) -> bool:
    return (
        request.method in _SAFE
        and request.path == "/"
        and request.one("sec-fetch-mode") == "navigate"
        and request.one("sec-fetch-dest") == "document"
    )


def is_public(request: Request) -> bool:
    """Whether it asks for what needs no token."""
    return request.path == "/" or request.path.startswith(PUBLIC)


def judge_token(request: Request, token: str) -> Refusal | None:
    """Decide whether it has the token, where it needs one."""
    if is_public(request):
        return None
    scheme, _, given = (request.one("authorization") or "").partition(" ")
    is_right = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    if scheme.lower() == "bearer" and is_right:
        return None
    return Refusal(
        HTTPStatus.UNAUTHORIZED,
        "bad_token",
        "the token is missing or wrong",
        "Send `Authorization: Bearer TOKEN` with the token that `modelfetch serve` printed.",
    )


def judge_body(request: Request) -> Refusal | None:
    """Decide whether it says of its body what may be said."""
    kinds, lengths = request.all("content-type"), request.all("content-length")
    is_json = [kind.partition(";")[0].strip().lower() == "application/json" for kind in kinds]
    has_body = any(length != "0" for length in lengths) or bool(request.all("transfer-encoding"))
    if not all(is_json) or (has_body and not is_json):
        message = "a body must be JSON"
        hint = "Send `Content-Type: application/json`."
        return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json", message, hint)
    if any(length.isascii() and length.isdecimal() and int(length[:20]) > BODY for length in lengths):
        return _too_large()
    return None


def _too_large() -> Refusal:
    message = f"the body has more than {BODY} bytes"
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)


def _too_many_guesses() -> Refusal:
    message = "too many ask with a wrong token"
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too_many_guesses", message, "Try again in a second.")


def _too_slow() -> Refusal:
    return Refusal(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "the body took too long")


class Guard:
    """Stands before an application: judges each request, bounds its body, and completes each answer.

    Args:
        app: Gets what passes.
        address: Where the server listens.
        token: What opens everything but the panel's own files.
        body_seconds: How long a body may take.
    """

    def __init__(
        self, app: ASGIApp, address: Address, token: str, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._app = app
        self._address = address
        self._token = token
        self._body_seconds = body_seconds
        self._guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; there are no others than those of HTTP (no web sockets, no lifespan)."""
        refusal = await self._judge(_head(scope), scope.get("state", {}).get(GUEST))
        app = self._app if refusal is None else refuse(refusal)
        try:
            await app(scope, _Body(receive, self._body_seconds).receive, _completing(send))
        except Exception as error:  # the application has answered, as far as that was still possible
            error_responses.report(
                error, f"a request failed by a bug: {scope['method']} {quote(scope['path'])}"
            )

    async def _judge(self, request: Request, connection: Connection | None) -> Refusal | None:
        """Decide about a request; a wrong token waits for its answer."""
        refusal = judge_caller(request, self._address)
        if refusal is None and not is_public(request):
            is_known = connection is not None and connection.is_known
            refusal = judge_token(request, self._token) if is_known else await self._meet(request, connection)
        return refusal or judge_body(request)

    async def _meet(self, request: Request, connection: Connection | None) -> Refusal | None:
        refusal = judge_token(request, self._token)
        if refusal is None:
            if connection is not None:
                connection.know()
        elif request.all("authorization"):  # a guess
            try:
                await self._guesses.wait()
            except Crowded:
                return _too_many_guesses()
        return refusal


def _head(scope: Scope) -> Request:
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return Request(scope["method"], scope["path"], fields)


def _completing(send: Send) -> Send:
    """Add our headers to an answer."""

    async def complete(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            names = {name.lower() for name, _ in own}
            message["headers"] = own + [header for header in HEADERS if header[0] not in names]
        await send(message)

    return complete


class _Body:
    """Bounds a body in bytes and in time, whatever its head said."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._until = asyncio.get_running_loop().time() + seconds
        self._size = 0
        self._is_complete = False

    async def receive(self) -> Message:
        if self._is_complete:  # what comes now is that the client went, at any time
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        self._size += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._size > BODY:
            raise _too_large()
        return message
