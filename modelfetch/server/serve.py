"""Running the server: check the options, bind, serve, and stop without losing data.

Everything that can be wrong is checked before the server reports that it listens: token, public URL,
certificate, address. A signal (SIGINT, SIGTERM, SIGHUP) ends the jobs first, which ends their streams, and
then the connections. The server's own line on stdout is printed by its caller, through ``listening``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import HANDLED_SIGNALS

from modelfetch.engine.stream import Hangup
from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote, sanitize
from modelfetch.server.connection_timeouts import HEAD_SECONDS, LOGIN_LIMITS, Connection
from modelfetch.server.guard import MAX_HEAD_BYTES
from modelfetch.server.job_queue import Jobs
from modelfetch.server.job_store import JobStore
from modelfetch.server.listen_address import Address
from modelfetch.server.login_limits import BACKLOG, LoginLimits
from modelfetch.server.pins import Pins
from modelfetch.server.routes import build
from modelfetch.server.runner import ServerWorkspace
from modelfetch.settings.redaction import endpoint

MAX_CONNECTIONS: Final = 512
"""Open connections and requests at most: one for every stream, and as many for everything else."""
STOP_SECONDS: Final = 1
"""Seconds that open responses may still take after all jobs have ended."""

MIN_TOKEN_LENGTH: Final = 16
"""Characters of a configured token at least: 64 bits as random hexadecimal digits, 96 as base64. At ten
thousand guesses a second the former takes thirty million years."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""Characters allowed after ``Bearer`` (RFC 6750, 2.1); all are also allowed in a URL fragment."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the server."""

    host: str = "127.0.0.1"
    port: int = 8765
    """0 takes any free port."""
    token: str = ""
    """Empty generates a random one."""
    cert: Path | None = None
    """PEM file with the certificate and its chain; together with ``key`` it enables TLS."""
    key: Path | None = None
    public_url: str = ""
    """URL at which a reverse proxy publishes it; empty without a proxy."""
    allow_add: bool | None = None
    """Whether clients may add models; None allows it only if no other machine can reach the server."""


class Server(uvicorn.Server):
    """uvicorn, extended: reports when it listens, and ends the jobs before the connections.

    Args:
        config: Configuration of uvicorn.
        jobs: Stopped first on shutdown, so that every stream sends its end marker.
        listening: Called once requests are accepted.
        pins: Stopped on shutdown, too.
    """

    def __init__(
        self, config: uvicorn.Config, jobs: Jobs, listening: Callable[[], None], pins: Pins | None = None
    ) -> None:
        super().__init__(config)
        self._jobs = jobs
        self._pins = pins
        self._listening = listening
        self._login_limits = LoginLimits()
        # Under `nohup` or in the background of a shell, signals are ignored on purpose (POSIX); uvicorn
        # installs its handlers regardless.
        self._ignored = {number for number in HANDLED_SIGNALS if signal.getsignal(number) is signal.SIG_IGN}

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal, unless it was ignored when the process was started."""
        if sig not in self._ignored:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and report it.

        Replaces uvicorn's method, which allows a TLS handshake one minute: long enough for idle connections
        to use up all file descriptors.
        """
        handshake_seconds = None if self.config.ssl is None else HEAD_SECONDS
        self.servers = [
            await asyncio.get_running_loop().create_server(
                self._new_connection,
                sock=sock,
                ssl=self.config.ssl,
                backlog=BACKLOG,
                ssl_handshake_timeout=handshake_seconds,
            )
            for sock in sockets or ()
        ]
        # asyncio uses its backlog also for the kernel's queue. More may wait there: a connection that finds
        # the queue full is retried by its client only after a second.
        for sock in sockets or ():
            sock.listen(MAX_CONNECTIONS)
        self.started = True
        self._listening()

    def _new_connection(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state={LOGIN_LIMITS: self._login_limits}
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the jobs, which ends their streams, and then everything else."""
        if self._pins is not None:
            self._pins.stop()
        # In a thread: stopping waits for runs, and the event loop must send the last events meanwhile.
        await asyncio.to_thread(self._jobs.stop)
        await super().shutdown(sockets)


def serve(options: Options, flags: Mapping[str, object], listening: Callable[[Address, str], None]) -> None:
    """Serve until a signal.

    Args:
        options: Options of the server.
        flags: Settings given on the command line.
        listening: Called once requests are accepted, with the address and the token.

    Raises:
        UsageError: The address cannot be listened on, or token, certificate, key or public URL are invalid.
        ConfigError: A setting is invalid.
        KeyboardInterrupt: A signal, after everything has ended.
    """
    token = _token(options.token)
    public = _public(options.public_url)
    is_tls = _check_tls(options.cert, options.key)
    workspace = ServerWorkspace(flags)
    loaded = workspace.load()
    with _bind(options.host, options.port) as listener, loaded.history() as history:
        bound, port = listener.getsockname()[:2]
        address = Address(options.host, bound, port, is_tls, public)
        jobs = Jobs(workspace, JobStore(history), parallel=loaded.loaded.settings.serve.jobs)
        pins = Pins(workspace, is_allowed=may_add(options.allow_add, address))
        app = build(jobs, workspace, history, address, token, pins)
        server = Server(config(app, options), jobs, lambda: listening(address, token), pins)
        with _stop_on_hangup(server):
            server.run([listener])


def may_add(allowed: bool | None, address: Address) -> bool:
    """Whether clients may add models.

    By default only if every client is on this machine. A reverse proxy publishes the server, whatever it
    listens on.
    """
    return address.is_local and not address.public if allowed is None else allowed


def config(app: ASGIApp, options: Options, connection: type[asyncio.Protocol] = Connection) -> uvicorn.Config:
    """Make the configuration of uvicorn."""
    # It logs each malformed request, which any client can send at will. Bugs are logged by the guard instead.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        http=connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the guard judges X-Forwarded-Host itself; uvicorn would trust more of them
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=options.cert,
        ssl_keyfile=options.key,
    )


@contextlib.contextmanager
def _stop_on_hangup(server: Server) -> Iterator[None]:
    """Stop on SIGHUP (the terminal was closed) as cleanly as on SIGTERM; uvicorn handles only the latter."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # ignored by nohup
        yield
        return
    hung_up = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal hung_up
        hung_up = server.should_exit = True

    before = signal.signal(signal.SIGHUP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
    if hung_up:
        raise Hangup


def _token(given: str) -> str:
    if not given:
        return secrets.token_urlsafe(32)  # 256 bits
    if not _TOKEN.fullmatch(given):
        raise UsageError(
            "the token has characters that cannot be sent in a header",
            hint="Use letters, digits and -._~+/ only; without a token, a random one is generated.",
        )
    if len(given) < MIN_TOKEN_LENGTH:
        raise UsageError(
            f"the token has {len(given)} characters, so it can be guessed",
            hint=f"Use at least {MIN_TOKEN_LENGTH}, as from `openssl rand -hex 32`; or give no token.",
        )
    return given


def _public(url: str) -> str:
    """Check the public URL, and remove a trailing slash."""
    try:
        return endpoint(url) if url else ""
    except ValueError as error:
        hint = "Give the URL to open in a browser, such as https://models.example.org."
        raise UsageError(f"--public-url: {error}", hint=hint) from error


def _check_tls(cert: Path | None, key: Path | None) -> bool:
    """Whether to use TLS.

    Raises:
        UsageError: Certificate or key are missing or unusable. uvicorn would find that out only later.
    """
    if cert is None and key is None:
        return False
    if cert is None or key is None:
        raise UsageError("TLS needs both --cert and --key", hint="Give the PEM files of both.")
    try:
        # An empty password fails for an encrypted key; without one, OpenSSL would ask on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = (
            sanitize(error.strerror or str(error)) if isinstance(error, OSError) else sanitize(str(error))
        )
        raise UsageError(
            f"the certificate {quote(str(cert))} with the key {quote(str(key))} cannot be used: {reason}",
            hint="Give the PEM files of a certificate and of its key, without a password.",
        ) from error
    return True


def _bind(host: str, port: int) -> socket.socket:
    if not host:  # the system would listen on all interfaces, which must not happen by accident
        raise UsageError("--host is empty", hint="Give an address; 0.0.0.0 listens on all interfaces.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        if sys.platform != "win32":  # on Windows it would let another program listen on the same port
            # A restart can listen at once, while connections of the server before are in TIME_WAIT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> UsageError:
    reason = sanitize(error.strerror or str(error)).lower()
    return UsageError(
        f"cannot listen on {quote(host)}, port {port}: {reason}",
        hint="Stop the program that listens there, or choose another --port (0 takes any free port).",
    )
