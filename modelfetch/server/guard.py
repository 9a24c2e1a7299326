"""Access control: decides about each request before any route sees it.

The decision is a pure function of the head of a request (:func:`judge`); :class:`Guard` applies it, and
bounds the body in size and time. The rules are those of ``docs/reference/http-api.md``, checked in this
order:

1. size of the head;
2. ``Host``: stops DNS rebinding, where a foreign page makes its own name resolve to this server;
3. ``Origin`` and ``Sec-Fetch-Site``: stop cross-site requests from a page in the same browser;
4. the token, for everything but the panel's own files and the shared endpoints;
5. type and declared length of the body.

With ``serve --share``, the paths of the shared endpoints (:class:`SharedPaths`) need no token. They may only
be read: other methods and bodies are refused, but a query that some of them take in the body of a POST. A
token that is sent to them is ignored, neither compared nor counted as a guess: clients such as those of
Hugging Face send a token of their own with every request.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote
from modelfetch.server import error_responses
from modelfetch.server.error_responses import Refusal, error_response
from modelfetch.server.listen_address import is_wildcard
from modelfetch.server.login_limits import Guesses, TooManyGuesses
from modelfetch.server.request_scope import client_address, connection_of

if TYPE_CHECKING:
    from modelfetch.server.connection_timeouts import Connection
    from modelfetch.server.listen_address import Address

MAX_BODY_BYTES: Final = 64 * 1024
"""Bytes of a body at most; a job submission has about a hundred."""
MAX_HEAD_FIELDS: Final = 64
"""Header fields at most; browsers send about fifteen."""
MAX_HEAD_BYTES: Final = 16 * 1024
"""Bytes of the head at most."""
BODY_SECONDS: Final = 10.0
"""Seconds within which a body must be complete."""

PUBLIC: Final = "/static/"
"""Paths below it, and the panel itself (``/``), hold no data and need no token; all others need it."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})
"""Values of ``Sec-Fetch-Site`` for requests of the server's own pages, and of the address bar."""

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
"""Added to every response that does not set them itself. There are no CORS headers: no foreign page may read
a response."""


# The rules


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request."""

    method: str
    path: str
    """The path as it is routed: decoded, without the query."""
    fields: Sequence[tuple[str, str]]
    """Header names in lower case, and values, in the order they were sent."""

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str | None:
        """Return the value of a header; None when it is absent or sent more than once.

        A proxy and this server might each use another one of two values, so two count as none.
        """
        values = self.all(name)
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class SharedPaths:
    """Which paths belong to the shared endpoints."""

    shared: Sequence[re.Pattern[str]] = ()
    """Patterns of the shared routes; none unless the server shares its cache."""
    own: Sequence[re.Pattern[str]] = ()
    """Patterns of all other routes. They come first, so that no shared pattern, however general, opens a path
    of the server's own API."""
    queries: Sequence[re.Pattern[str]] = ()
    """Patterns of the shared routes that take a query in the body of a POST request."""

    def includes(self, path: str) -> bool:
        """Whether a path, as it is routed, is that of a shared endpoint."""
        return any(pattern.match(path) for pattern in self.shared) and not any(
            pattern.match(path) for pattern in self.own
        )

    def takes_query(self, path: str) -> bool:
        """Whether a shared path may be requested with POST."""
        return any(pattern.match(path) for pattern in self.queries)


_NOTHING_SHARED: Final = SharedPaths()


def judge(
    request: Request, address: Address, token: str, shared: SharedPaths = _NOTHING_SHARED
) -> Refusal | None:
    """Apply all rules to a request; None accepts it."""
    refusal = judge_caller(request, address)
    if refusal is None and shared.includes(request.path):
        return judge_shared(request, takes_query=shared.takes_query(request.path))
    return refusal or judge_token(request, token) or judge_body(request)


def judge_shared(request: Request, *, takes_query: bool = False) -> Refusal | None:
    """Check that a request for a shared path only reads; some paths take a short query as a body."""
    if takes_query and request.method == "POST":
        return _too_large() if any(map(_is_too_long, request.all("content-length"))) else None
    if request.method not in _SAFE_METHODS:
        allowed = {"Allow": ", ".join(sorted(_SAFE_METHODS))}
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "bad_method", "method not allowed", headers=allowed)
    if _has_body(request):
        # Where the body ends may be ambiguous (RFC 9112, 6.3), so nothing that follows it is a request.
        close = {"Connection": "close"}
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", "this request takes no body", headers=close)
    return None


def judge_caller(request: Request, address: Address) -> Refusal | None:
    """Check that a request has an acceptable size, names this server, and comes from no foreign page."""
    return _judge_size(request) or _judge_host(request, address) or _judge_origin(request, address)


def _judge_size(request: Request) -> Refusal | None:
    size = len(request.path) + sum(len(name) + len(value) for name, value in request.fields)
    if len(request.fields) > MAX_HEAD_FIELDS or size > MAX_HEAD_BYTES:
        message = f"the head has more than {MAX_HEAD_FIELDS} fields or {MAX_HEAD_BYTES} bytes"
        return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message)
    return None


def _judge_host(request: Request, address: Address) -> Refusal | None:
    """Accept the server's own names only.

    A target that is not a path is a request to a proxy (``GET http://other/``), which this server is not.
    """
    host, forwarded = request.one("host"), request.all("x-forwarded-host")
    if request.path.startswith("/") and host is not None and all(map(address.allows, [host, *forwarded])):
        return None
    named = quote((forwarded or request.all("host") or [""])[0])
    # On all interfaces its URL is for clients on this machine; it does not know which number others use.
    is_anywhere = not address.public and is_wildcard(address.bound)
    known = "the IP address of it" if is_anywhere else f"{address.shown} or another address of it"
    return Refusal(
        HTTPStatus.MISDIRECTED_REQUEST,
        "wrong_host",
        f"this server is not {named}",
        f"Use {known}, with the port; or start `modelfetch serve` with "
        "--allow-host and the name, behind a reverse proxy with --public-url.",
    )


def _judge_origin(request: Request, address: Address) -> Refusal | None:
    """Refuse requests that a page of another origin makes a browser send; a link to the panel is allowed."""
    origins, sites = request.all("origin"), request.all("sec-fetch-site")
    if all(map(address.allows_origin, origins)) and (_OWN_SITE.issuperset(sites) or _is_link(request)):
        return None
    message = "pages of other origins may not use this server"
    return Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", message)


def _is_link(request: Request) -> bool:
    """Whether a person followed a link to the panel; it has no data, so any page may link to it."""
    return (
        request.method in _SAFE_METHODS
        and request.path == "/"
        and request.one("sec-fetch-mode") == "navigate"
        and request.one("sec-fetch-dest") == "document"  # not a frame of another page
    )


def is_public(request: Request) -> bool:
    """Whether the path needs no token."""
    return request.path == "/" or request.path.startswith(PUBLIC)


def judge_token(request: Request, token: str) -> Refusal | None:
    """Check the token, where the path needs one."""
    if is_public(request):
        return None
    scheme, _, given = (request.one("authorization") or "").partition(" ")
    # Constant time: `==` would tell by its duration how many leading characters were right.
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
    """Check the type and the declared length of the body."""
    if not _has_valid_type(request):
        message = "a body must be JSON"
        hint = "Send `Content-Type: application/json`."
        return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json", message, hint)
    if any(map(_is_too_long, request.all("content-length"))):
        return _too_large()
    return None


def _has_valid_type(request: Request) -> bool:
    """Whether a body is declared as JSON.

    A page of another origin cannot send this type without a CORS preflight, which this server never grants.
    """
    is_json = [
        kind.partition(";")[0].strip().lower() == "application/json" for kind in request.all("content-type")
    ]
    return all(is_json) and (bool(is_json) or not _has_body(request))


def _has_body(request: Request) -> bool:
    lengths = request.all("content-length")
    return any(length != "0" for length in lengths) or bool(request.all("transfer-encoding"))


def _is_too_long(length: str) -> bool:
    # 20 digits decide already; int() of a longer text would take time that grows with its square.
    return length.isascii() and length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES


def _too_large() -> Refusal:
    message = f"the body has more than {MAX_BODY_BYTES} bytes"
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)


def _too_many_guesses() -> Refusal:
    message = "too many requests with a wrong token"
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too_many_guesses", message, "Try again in a second.")


def _too_slow() -> Refusal:
    return Refusal(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "the body was not complete in time")


# Applying them


class Guard:
    """ASGI middleware: judges each request, bounds its body, and adds the security headers to each response.

    Args:
        app: Receives the accepted requests.
        address: Where the server listens.
        token: Required for everything but the panel's own files and the shared endpoints.
        body_seconds: Seconds within which a body must be complete.
        shared: The paths of the shared endpoints.
        count: Counts a request for one of them by the address of its client, or raises :class:`Refusal`.
    """

    def __init__(
        self,
        app: ASGIApp,
        address: Address,
        token: str,
        body_seconds: float = BODY_SECONDS,
        shared: SharedPaths = _NOTHING_SHARED,
        count: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        self._app = app
        self._shared = shared
        self._count = count
        self._address = address
        self._token = token
        self._body_seconds = body_seconds
        self._guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Scopes are always HTTP: web sockets and lifespan are off (see ``serve``)."""
        refusal = await self._judge(_head(scope), connection_of(scope))
        with ExitStack() as counted:
            if refusal is None and self._shared.includes(scope["path"]):
                try:
                    counted.enter_context(self._count(client_address(scope)))
                except Refusal as too_many:
                    refusal = too_many
            app = self._app if refusal is None else error_response(refusal)
            try:
                await app(scope, _Body(receive, self._body_seconds).receive, _with_headers(send))
            except Exception as error:  # the application sent an error response, if none had begun before
                what = f"a request failed by a bug: {scope['method']} {quote(scope['path'])}"
                error_responses.log_exception(error, what)

    async def _judge(self, request: Request, connection: Connection | None) -> Refusal | None:
        """Apply all rules; the response to a wrong token is delayed."""
        refusal = judge_caller(request, self._address)
        if refusal is None and self._shared.includes(request.path):
            return judge_shared(request, takes_query=self._shared.takes_query(request.path))
        if refusal is None and not is_public(request):
            refusal = await self._authenticate(request, connection)
        return refusal or judge_body(request)

    async def _authenticate(self, request: Request, connection: Connection | None) -> Refusal | None:
        refusal = judge_token(request, self._token)
        if connection is not None and connection.is_authenticated:
            return refusal  # the right token came over this connection before, so this is no guess
        if refusal is None:
            if connection is not None:
                connection.mark_authenticated()
        elif request.all("authorization"):  # a guess; a request without any token is no attack
            try:
                await self._guesses.wait()
            except TooManyGuesses:
                return _too_many_guesses()
        return refusal


def _head(scope: Scope) -> Request:
    # Latin-1 maps every byte to one character (RFC 9110, 5.5), so decoding cannot fail.
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return Request(scope["method"], scope["path"], fields)


def _with_headers(send: Send) -> Send:
    """Add the security headers to a response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            names = {name.lower() for name, _ in own}
            message["headers"] = own + [header for header in HEADERS if header[0] not in names]
        await send(message)

    return send_with_headers


class _Body:
    """Bounds a body in bytes and in time; a chunked one declares no length in its head."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._size = 0
        self._is_complete = False

    async def receive(self) -> Message:
        # After the body only `http.disconnect` comes; a stream waits for it without a limit.
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        self._size += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._size > MAX_BODY_BYTES:
            raise _too_large()
        return message
