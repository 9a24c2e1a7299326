"""Running the server: bind, say where, serve, and stop without losing a byte."""

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
from modelfetch.model.text import quote, sanitise
from modelfetch.server.connection_timeouts import DOOR, HEAD_SECONDS, Connection
from modelfetch.server.guard import HEAD
from modelfetch.server.job_queue import Jobs
from modelfetch.server.job_store import JobStore
from modelfetch.server.listen_address import Address
from modelfetch.server.login_limits import BACKLOG, LoginLimits
from modelfetch.server.routes import build
from modelfetch.server.runner import ServerWorkspace
from modelfetch.settings.redaction import endpoint

CONNECTIONS: Final = 512
"""Open connections and requests at most: every stream, and as many again for everything else."""
STOP_SECONDS: Final = 1
"""How long answers under way may still take once all jobs have ended."""

LEAST_TOKEN: Final = 16
"""Characters of a token that is given, at least: 64 bits where they are random hex digits, 96 where they are
those of base64. At ten thousand guesses a second the first takes thirty million years."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""What may stand behind ``Bearer`` (RFC 6750, 2.1); all of it may stand in a fragment, too."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve."""

    host: str = "127.0.0.1"
    port: int = 8765
    """0 takes any that is free."""
    token: str = ""
    """Empty makes a new one."""
    cert: Path | None = None
    """PEM file with the certificate and its chain; with ``key`` it turns TLS on."""
    key: Path | None = None
    public_url: str = ""
    """By which address a reverse proxy has it; empty where none does."""


class Server(uvicorn.Server):
    """uvicorn, which says when it listens, and ends the jobs before the connections.

    Args:
        config: How to serve.
        jobs: Ended first, so that every stream has its end.
        listening: Called once requests are answered.
    """

    def __init__(self, config: uvicorn.Config, jobs: Jobs, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._jobs = jobs
        self._listening = listening
        self._door = LoginLimits()
        self._ignored = {number for number in HANDLED_SIGNALS if signal.getsignal(number) is signal.SIG_IGN}

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal, but not on one that was ignored when this process was started."""
        if sig not in self._ignored:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so.

        Instead of uvicorn's own: it gives a TLS handshake a minute, in which a crowd could use up all files.
        """

        def connection(_loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state={DOOR: self._door}, _loop=_loop
            )

        loop, tls = asyncio.get_running_loop(), self.config.ssl
        patience = None if tls is None else HEAD_SECONDS
        self.servers = [
            await loop.create_server(
                connection, sock=sock, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=patience
            )
            for sock in sockets or ()
        ]
        for sock in (
            sockets or ()
        ):  # in the kernel more may wait, or a crowd makes others try again in a second
            sock.listen(CONNECTIONS)
        self.started = True
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the jobs, which ends their streams, and then everything else."""
        await asyncio.to_thread(self._jobs.stop)
        await super().shutdown(sockets)


def serve(options: Options, flags: Mapping[str, object], listening: Callable[[Address, str], None]) -> None:
    """Serve until a signal ends it.

    Args:
        options: How.
        flags: Settings given on the command line.
        listening: Called once requests are answered, with the address and the token.

    Raises:
        UsageError: It cannot listen there; token, certificate, key or public address cannot be used.
        ConfigError: A setting is wrong.
        KeyboardInterrupt: The signal, once everything has ended.
    """
    token = _token(options.token)
    public = _public(options.public_url)
    is_tls = _check_tls(options.cert, options.key)
    workshop = ServerWorkspace(flags)
    workspace = workshop.open()
    with _bind(options.host, options.port) as listener, workspace.history() as history:
        bound, port = listener.getsockname()[:2]
        address = Address(options.host, bound, port, is_tls, public)
        jobs = Jobs(workshop, JobStore(history), parallel=workspace.loaded.settings.serve.jobs)
        app = build(jobs, workshop, history, address, token)
        server = Server(config(app, options), jobs, lambda: listening(address, token))
        with _hangup(server):
            server.run([listener])


def config(app: ASGIApp, options: Options, connection: type[asyncio.Protocol] = Connection) -> uvicorn.Config:
    """Say how uvicorn is to serve an application, over connections of one kind."""
    # What a bad client makes it say is of no interest; bugs of ours come by another logger.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        http=connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEAD,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=options.cert,
        ssl_keyfile=options.key,
    )


@contextlib.contextmanager
def _hangup(server: Server) -> Iterator[None]:
    """Let SIGHUP (the terminal is gone) end the server as cleanly as SIGTERM, which uvicorn sees to."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        yield
        return
    hung_up = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal hung_up
        hung_up = server.should_exit = True

    before = signal.signal(signal.SIGHUP, end)
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
            "the token has characters that cannot be sent",
            hint="Use letters, digits and -._~+/ only; or give none, and a random one is made.",
        )
    if len(given) < LEAST_TOKEN:
        raise UsageError(
            f"the token has {len(given)} characters, which can be guessed",
            hint=f"Give {LEAST_TOKEN} at least, such as `openssl rand -hex 32` makes, or none.",
        )
    return given


def _public(url: str) -> str:
    """Check the address that a reverse proxy has; a trailing slash is dropped."""
    try:
        return endpoint(url) if url else ""
    except ValueError as error:
        hint = "Give the address that is typed into a browser, such as https://models.example.org."
        raise UsageError(f"--public-url: {error}", hint=hint) from error


def _check_tls(cert: Path | None, key: Path | None) -> bool:
    """Whether to use TLS; a certificate that cannot be used is found out here."""
    if cert is None and key is None:
        return False
    if cert is None or key is None:
        raise UsageError("TLS needs both --cert and --key", hint="Give the PEM files of both.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = (
            sanitise(error.strerror or str(error)) if isinstance(error, OSError) else sanitise(str(error))
        )
        raise UsageError(
            f"the certificate {quote(str(cert))} with the key {quote(str(key))} cannot be used: {reason}",
            hint="Give the PEM files of a certificate and of its key, without a password.",
        ) from error
    return True


def _bind(host: str, port: int) -> socket.socket:
    if not host:  # it would mean every address of this machine
        raise UsageError("--host is empty", hint="Name an address; 0.0.0.0 stands for all of this machine.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _no_listening(host, port, error) from error
    try:
        if sys.platform != "win32":  # there it would let another program listen on the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _no_listening(host, port, error) from error
    return listener


def _no_listening(host: str, port: int, error: OSError) -> UsageError:
    reason = sanitise(error.strerror or str(error)).lower()
    return UsageError(
        f"cannot listen on {quote(host)}, port {port}: {reason}",
        hint="End what listens there, or choose another --port (0 takes any that is free).",
    )
