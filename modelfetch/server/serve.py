"""Running the server: check the options, bind, serve, and stop without losing data.

Everything that can be wrong is checked before the server reports that it listens: token, public URL,
certificate, address. A signal (SIGINT, SIGTERM, SIGHUP) ends the jobs first, which ends their streams, and
then the connections. The server's own line on stdout is printed by its caller, through ``listening``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import HANDLED_SIGNALS

from modelfetch.engine.stream import Hangup
from modelfetch.errors import StoreError, UsageError
from modelfetch.model.text import quote, sanitize
from modelfetch.server.connection_timeouts import HANDSHAKES, HEAD_SECONDS, LOGIN_LIMITS, Connection
from modelfetch.server.guard import MAX_HEAD_BYTES
from modelfetch.server.handshakes import Handshakes, Listener
from modelfetch.server.job_queue import Jobs
from modelfetch.server.job_store import JobStore
from modelfetch.server.listen_address import Address, is_wildcard, own_names
from modelfetch.server.login_limits import BACKLOG, LoginLimits
from modelfetch.server.pins import Pins
from modelfetch.server.routes import build
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.serve_options import (
    Options,
    check_sharing,
    check_tls,
    checked_hosts,
    checked_public_url,
    checked_token,
)
from modelfetch.store.instance import instance_of
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.server.share_state import ShareState
    from modelfetch.store import Store
    from modelfetch.workspace import Workspace

AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""What ``socket.getaddrinfo`` gives for each address."""

MAX_CONNECTIONS: Final = 512
"""Open connections and requests at most: one for every stream, and as many for everything else."""
STOP_SECONDS: Final = 1
"""Seconds that open responses may still take after all jobs have ended."""


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
        self._handshakes = Handshakes()
        # Under `nohup` or in the background of a shell, signals are ignored on purpose (POSIX); uvicorn
        # installs its handlers regardless.
        self._ignored = {number for number in HANDLED_SIGNALS if signal.getsignal(number) is signal.SIG_IGN}

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal, unless it was ignored when the process was started."""
        if sig not in self._ignored:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and report it.

        Replaces uvicorn's method, which allows a TLS handshake one minute, and any number of them: idle
        connections would use up all file descriptors.
        """
        handshake_seconds = None if self.config.ssl is None else HEAD_SECONDS
        if self.config.ssl is not None:
            sockets = [Listener(sock, self._handshakes.add) for sock in sockets or ()]
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
            config=self.config,
            server_state=self.server_state,
            app_state={LOGIN_LIMITS: self._login_limits, HANDSHAKES: self._handshakes},
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
        StoreError: The cache cannot be used.
        KeyboardInterrupt: A signal, after everything has ended.
    """
    token = checked_token(options.token)
    public = checked_public_url(options.public_url)
    is_tls = check_tls(options.cert, options.key)
    names = checked_hosts(options)
    check_sharing(options)
    workspace = ServerWorkspace(flags)
    loaded = workspace.load()
    check_cache(loaded.store)
    with _bind(options.host, options.port) as listener, loaded.history() as history:
        bound, port = listener.getsockname()[:2]
        if options.share and is_wildcard(bound):
            names = (*names, *own_names())
        address = Address(options.host, bound, port, is_tls, public, names)
        jobs = Jobs(workspace, JobStore(history), parallel=loaded.loaded.settings.serve.jobs)
        pins = Pins(workspace, is_allowed=may_add(options.allow_add, address))
        with (
            _sharing(options, workspace, loaded, jobs) as share_state,
            announced(options, loaded, address),
            _seeding(options, workspace, loaded),
        ):
            app = build(jobs, workspace, history, address, token, pins, share_state)
            server = Server(config(app, options), jobs, lambda: listening(address, token), pins)
            with _stop_on_hangup(server):
                server.run([listener])


def check_cache(store: Store) -> None:
    """Check that the cache can be read, and note that it cannot be written: to clients it would look empty.

    Raises:
        StoreError: It cannot be read, or does not exist and cannot be made.
    """
    store.begun()  # reads a directory of it
    try:
        store.check_writable()
    except StoreError as error:
        if not store.root.is_dir():
            raise
        logging.getLogger(__name__).warning("note: nothing can be fetched: %s", error.message)


def _sharing(
    options: Options, engine: ServerWorkspace, workspace: Workspace, jobs: Jobs
) -> AbstractContextManager[ShareState | None]:
    """Make the state of sharing, if the cache is to be shared; it ends with the block."""
    if not options.share:
        return nullcontext()
    from modelfetch.server.sharing import sharing  # only what shares a cache pays for it

    pin_only = options.pin_only if options.pin_on_demand else None
    return sharing(engine, workspace, jobs, fetch=options.fetch, pin_only=pin_only)


@contextlib.contextmanager
def announced(options: Options, workspace: Workspace, address: Address) -> Iterator[None]:
    """Announce a server that shares its cache in the local network, if ``lan.enabled`` is set."""
    if not (options.share and workspace.loaded.settings.lan.enabled):
        yield
        return
    from modelfetch.net.mdns_announcement import Announcement

    def report(line: str) -> None:
        logging.getLogger(__name__).warning("note: %s", line)

    if address.is_local or address.tls:
        # A certificate names a host, and peers are found by their addresses, so they could not verify it.
        why = (
            "it listens on this machine only; --host 0.0.0.0 changes that"
            if address.is_local
            else f"it uses TLS; name it in sources.peers of the others, as https://HOST:{address.port}"
        )
        report(f"this server is not announced in the local network: {why}")
        yield
        return
    announcement = Announcement(address.port, instance_of(workspace.store.root), address.bound)
    announcement.start(report)
    try:
        yield
    finally:
        announcement.close()


@contextlib.contextmanager
def _seeding(options: Options, workspace: ServerWorkspace, loaded: Workspace) -> Iterator[None]:
    """Take part in swarms until the end of the block, if wanted.

    Raises:
        UsageError: libtorrent is not installed.
    """
    if not options.swarm:
        yield
        return
    from modelfetch.server.swarm_seeding import seeding

    with seeding(loaded, workspace.load) as workspace.swarm:
        yield


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


def _bind(host: str, port: int) -> socket.socket:
    if not host:  # the system would listen on all interfaces, which must not happen by accident
        raise UsageError("--host is empty", hint="Give an address; 0.0.0.0 listens on all interfaces.")
    try:
        family, kind, protocol, _, where = _looked_up(host, port)
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise cannot_listen(host, port, error) from error
    try:
        if sys.platform != "win32":  # on Windows it would let another program listen on the same port
            # A restart can listen at once, while connections of the server before are in TIME_WAIT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen()
    except OSError as error:
        listener.close()
        raise cannot_listen(host, port, error) from error
    return listener


def _looked_up(host: str, port: int) -> AddressInfo:
    """Look up the address to listen on, in a thread.

    With a name server that is down this may take a minute, in which the main thread would heed no signal.

    Raises:
        OSError: There is none.
    """
    found: Future[AddressInfo] = Future()

    def work() -> None:
        try:
            found.set_result(
                socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            )
        except UnicodeError:  # such as an empty label, or one of more than 63 bytes
            found.set_exception(OSError(errno.EADDRNOTAVAIL, "no valid host name"))
        except Exception as error:  # raised by the thread that waits
            found.set_exception(error)

    if start(work, "host lookup") is None:
        work()
    return found.result()


def cannot_listen(host: str, port: int, error: OSError) -> UsageError:
    """Make the error for an address that cannot be listened on."""
    reason = sanitize(error.strerror or str(error)).lower()
    hint = "Stop the program that listens there, or choose another --port (0 takes any free port)."
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        hint = (
            "--host is a name or an address of this machine; 0.0.0.0 stands for all of them, :: for IPv6 too."
        )
    elif error.errno == errno.EINVAL:
        hint = "A link-local address is written with its interface, such as fe80::1%eth0."
    elif error.errno == errno.EACCES:
        hint = "Choose a --port from 1024 on: the others need a right that this process does not have."
    return UsageError(f"cannot listen on {quote(host)}, port {port}: {reason}", hint=hint)
