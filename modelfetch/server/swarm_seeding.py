"""``serve --swarm``: uploads every present model that has a torrent, from ``models/`` and without a copy.

The models are looked for at the start, after each job, and every minute: another process may have fetched
one, or removed it. A model that a job fetches is a torrent of the same engine meanwhile; afterwards it is
uploaded from its final place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from modelfetch.errors import ModelfetchError
from modelfetch.model.text import sanitize
from modelfetch.threads import require

if TYPE_CHECKING:
    from modelfetch.engine.swarm_session import Session
    from modelfetch.workspace import Workspace

REFRESH_SECONDS: Final = 60.0
"""Seconds between two looks for models that other processes fetched or removed."""
MOST_LINES: Final = 1024
"""Lines that are printed once only. Some quote the engine, and so differ each time; a look makes one for each
model at most."""


class Seeding:
    """The models that a server uploads.

    Args:
        session: The swarm of the server, which its jobs use, too.
        load: Reads settings and catalogs.
    """

    def __init__(self, session: Session, load: Callable[[], Workspace]) -> None:
        self.session = session
        self._load = load
        self._due = threading.Event()
        self._is_stopped = False
        self._is_first = True
        """Whether no look was finished yet."""

    def refresh(self) -> None:
        """Upload what is present, and nothing else. Called by the thread only."""
        if self._is_stopped:
            return
        try:
            self._refresh(self._load())
        except ModelfetchError as error:  # in a setting or a catalog; the next job reports it
            _warn(f"the models to upload are not known: {error.message}")

    def _refresh(self, workspace: Workspace) -> None:
        store = workspace.store
        present = {
            manifest.swarm.infohash: manifest
            for manifest in workspace.present()
            if manifest.swarm is not None and workspace.is_present(manifest, store)
        }
        self.session.forget_seeds(except_for=present.keys())
        if self._is_first and not present:
            _warn(
                "note: no model here has a swarm yet, so nothing is uploaded:"
                " `modelfetch swarm publish NAME` makes the torrent of one"
            )
        self._is_first = False
        for manifest in present.values():
            self.session.seed(manifest, store.directory(manifest))

    def soon(self) -> None:
        """Have :meth:`refresh` called by the thread."""
        self._due.set()

    def run(self) -> None:
        """Refresh now and then, until :meth:`stop`."""
        while not self._is_stopped:
            self._due.clear()
            try:
                self.refresh()
            except Exception:  # a bug must not end the seeding of the other models
                logging.getLogger(__name__).exception("looking for models to upload failed")
            self._due.wait(REFRESH_SECONDS)

    def stop(self) -> None:
        """End the thread and the swarm."""
        self._is_stopped = True
        self._due.set()
        self.session.close()


@contextmanager
def seeding(workspace: Workspace, load: Callable[[], Workspace]) -> Iterator[Seeding]:
    """Upload present models until the end of the block.

    Args:
        workspace: The settings of the server.
        load: Reads settings and catalogs again.

    Raises:
        UsageError: libtorrent is not installed, or this Python cannot run it.
        StoreError: The system allows no more threads.
    """
    from modelfetch.engine.swarm_setup import open_session, require_engine

    require_engine()
    warn_of_port(workspace.loaded.settings.swarm.port)
    session = open_session(workspace.loaded, workspace.store, _Once(_warn))
    assert session is not None, "there can be an engine, as was just checked"
    found = Seeding(session, load)
    try:
        require(found.run, "modelfetch-seeding")
        yield found
    finally:
        found.stop()


def warn_of_port(port: int) -> None:
    """Report that the port for peers is in use: others know this machine by it, and a firewall may open it.

    A run beside a server never has it, so runs do not report it.
    """
    from modelfetch.engine.swarm_options import SwarmOptions
    from modelfetch.swarm.endpoints import free_port

    if port and free_port(SwarmOptions().listen, port) != port:
        _warn(
            f"note: port {port} of the swarm (swarm.port) is in use, so another one is taken;"
            " machines that name this one in swarm.peers, and firewalls, know nothing of that"
        )


class _Once:
    """Prints a line the first time only: what is wrong with a torrent file is found again every minute.

    Called by several threads. Of too many lines, those that came longest ago are forgotten.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._lock = threading.Lock()
        self._shown: dict[str, None] = {}
        """The line that came last at the end."""

    def __call__(self, line: str) -> None:
        """Print a line, unless it was printed."""
        with self._lock:
            is_new = line not in self._shown
            self._shown.pop(line, None)
            self._shown[line] = None
            if len(self._shown) > MOST_LINES:
                del self._shown[next(iter(self._shown))]
        if is_new:
            self._show(line)


def _warn(line: str) -> None:
    logging.getLogger(__name__).warning("%s", sanitize(line))
