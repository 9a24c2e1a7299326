"""A running server that fetches what clients ask for, in front of a loopback origin."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelfetch.server.connection_timeouts import Connection
from modelfetch.server.pull_through import PullThrough
from modelfetch.server.runner import ServerWorkspace
from modelfetch.store import Store
from tests.origin import Origin, ServedModel
from tests.patience import IN_TIME, PATIENT
from tests.server.running import Answer, PatientConnection, Served, until


@dataclass
class Pulling:
    """The server."""

    server: Served
    root: Path
    environ: dict[str, str]
    """Its environment, which it reads again for each job."""

    @property
    def share_state(self) -> PullThrough:
        assert isinstance(self.server.share_state, PullThrough)
        return self.server.share_state

    @property
    def store(self) -> Store:
        return self.server.workspace.load().store

    def get(self, digest: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for a blob without a token; ``Range`` and others as in a request."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.ask(method, f"/blobs/sha256/{digest}", headers=sent, token=None)

    @contextmanager
    def reading(self, digest: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """Ask for a blob, and read the response as it comes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=IN_TIME)
        try:
            connection.request("GET", f"/blobs/sha256/{digest}", headers=headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def jobs(self) -> list[tuple[tuple[str, ...], str]]:
        """The files of each job and its status, the oldest first.

        A job may end after the answer to the client that caused it: :meth:`ended_jobs` waits for that.
        """
        return [(job.order.only, job.state.status) for job in self.server.jobs.all()]

    def ended_jobs(self) -> list[tuple[tuple[str, ...], str]]:
        """The same, once all jobs have ended."""
        self.until_idle()
        return self.jobs()

    def until_idle(self) -> None:
        """Wait until no job is left that has not ended."""
        until(lambda: all(job.state.is_over for job in self.server.jobs.all()), "the end of all jobs")


@contextmanager
def pulling(
    tmp_path: Path,
    served: ServedModel | None,
    environ: Mapping[str, str] | None = None,
    *,
    connection: type[Connection] = PatientConnection,
    **settings: str,
) -> Iterator[Pulling]:
    """Run a server with a catalog of one model, whose files come from an origin."""
    variables = {
        **(served.environment if served is not None else {}),
        "HOME": str(tmp_path),
        "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
        "MODELFETCH_CONFIG": str(tmp_path / "config.toml"),
        "MODELFETCH_CACHE_FSYNC": "false",
        **PATIENT,
        "MODELFETCH_RETRY_ATTEMPTS": "1",
        **(environ or {}),
        **settings,
    }
    workspace = ServerWorkspace({}, environ=variables, cwd=tmp_path)
    with Served(tmp_path, workspace, fetch=True, connection=connection) as server:
        yield Pulling(server, tmp_path, variables)


def file_requests(origin: Origin, path: str) -> int:
    """How many requests for a file reached an origin."""
    return len(origin.asked(f"*{path}"))
