"""Running jobs: each in a thread of its own, by the same engine that commands use.

:class:`ServerWorkspace` is that engine: it reads settings and catalogs and starts runs on them. :func:`start`
runs one job in a thread. The events of the run pass through :func:`modelfetch.engine.stream.follow`, as in a
command; a :class:`JobReporter` appends them to the job. Whatever happens, the job ends exactly once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelfetch.engine.events import ErrorInfo, Event, RunFinished
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.runtime import Opened, unobserved
from modelfetch.engine.setup import Attached, RunOptions
from modelfetch.engine.stream import Record, Reporter, bug_words, follow
from modelfetch.errors import ModelfetchError, StoreError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.text import sanitize
from modelfetch.server import error_responses
from modelfetch.server.job import Job
from modelfetch.server.job_log import Entry
from modelfetch.server.job_state import CANCELLED_IN_QUEUE, Order, stopped
from modelfetch.server.received_bytes import ReceivedBytes
from modelfetch.threads import require
from modelfetch.workspace import Workspace

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.catalog.lookup import Catalog
    from modelfetch.model.manifest import Manifest
    from modelfetch.server.swarm_seeding import Seeding


# The engine


class JobEngine(Protocol):
    """What jobs need of the rest of the package."""

    def find(self, model: str) -> Manifest:
        """Look up a model by its name or an alias.

        Raises:
            UnknownModelError: No catalog has it.
            ManifestError: Its manifest is invalid.
        """

    def start_run(self, order: Order, cancel: Cancellation, name: str) -> Generator[Event, None, None]:
        """Start the run of an order.

        Args:
            order: What to do.
            cancel: Cancels the run.
            name: Identifies the run to other processes that wait for its locks.
        """

    def reporters(self) -> Sequence[Reporter]:
        """Create the reporters that receive the events of a run beside its job."""

    def look_after(self) -> None:
        """Do the upkeep of the cache if it is due; called after a download, and raises nothing."""


class ServerWorkspace:
    """The engine of the jobs (:class:`JobEngine`).

    Settings and catalogs are read again for each use, so a manifest that was added is available at once.

    Args:
        flags: Settings given on the command line of the server.
        environ: The environment, instead of that of the process.
        cwd: Where the configuration of a project is searched, instead of the working directory.

    Attributes:
        received: The bytes that its runs received.
        opened: Observes the files that jobs for single files fetch.
    """

    def __init__(
        self,
        flags: Mapping[str, object],
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._flags = dict(flags)
        self._environ = environ
        self._cwd = cwd
        self._catalog: Catalog | None = None
        self.received = ReceivedBytes()
        self.opened: Opened = unobserved
        self.swarm: Seeding | None = None
        """The models that the server uploads, and the swarm that its jobs use; None without ``--swarm``."""

    def load(self) -> Workspace:
        """Read settings and list catalogs.

        Raises:
            ConfigError: A setting or a named catalog is invalid.
        """
        workspace = Workspace.open(self._flags, environ=self._environ, cwd=self._cwd)
        # A manifest of 20,000 files takes half a second to read, and each job for one of them needs it twice.
        if self._catalog is not None:
            workspace.catalog.reuse(self._catalog)
        self._catalog = workspace.catalog
        return workspace

    def find(self, model: str) -> Manifest:
        """Look up a model by its name or an alias.

        Raises:
            UnknownModelError: No catalog has it.
            ManifestError: Its manifest is invalid.
        """
        return self.load().manifests([model])[0]

    def start_run(self, order: Order, cancel: Cancellation, name: str) -> Generator[Event, None, None]:
        """Start the run of an order."""
        workspace, options = self.load(), RunOptions(name=name)
        manifests = workspace.manifests([order.model])
        if order.operation == "model_verify":
            return workspace.verify(manifests, options, repair=order.repair, cancel=cancel)
        if order.only:
            workspace = _without_credentials(workspace, manifests)
        attached = Attached(
            opened=self.opened if order.only else unobserved,
            swarm=None if self.swarm is None else self.swarm.session,
            opens_swarm=True,
        )
        wanted = EnsureOptions(run=options, force=order.force, files=order.only, attached=attached)
        return workspace.ensure(manifests, wanted, cancel=cancel)

    def reporters(self) -> Sequence[Reporter]:
        """Create the reporters that write the history, as for a command, and count what is received."""
        try:
            return self.load().recorder(), self.received.reporter()
        except ModelfetchError:  # the run fails with the same error and reports it
            return ()

    def look_after(self) -> None:
        """Do the upkeep of the cache if it is due, as a command does after a download, and log it."""
        if self.swarm is not None:
            self.swarm.soon()
        from modelfetch.keep.upkeep import upkeep  # needed by no request, so the start does not pay for it

        try:
            lines = upkeep(self.load(), time.time())
        except ModelfetchError as error:  # a setting is wrong by now; the next job reports it
            lines = [f"warning: no upkeep of the cache: {error.message}"]
        for line in lines:
            # A warning also where it is only a note: the default logging prints nothing below that, and what
            # was removed must be reported.
            logging.getLogger(__name__).warning("%s", sanitize(line))


def _without_credentials(workspace: Workspace, manifests: Sequence[Manifest]) -> Workspace:
    """Leave the operator's credentials out of a job for a client, if a client has pinned the model.

    It was public then. If it is private or gated by now, only the operator may read it.
    """
    from modelfetch.share.on_demand import is_pinned_on_demand  # only a server that shares has such jobs

    if not any(map(is_pinned_on_demand, manifests)):
        return workspace
    return replace(workspace, loaded=workspace.loaded.anonymous())


# Running a job

OnEntry = Callable[[Job, Entry], None]
"""Called after each new entry in the log of a job."""


class JobReporter:
    """Reporter that appends each record of a run to the log of its job."""

    def __init__(self, job: Job, on_entry: OnEntry) -> None:
        self._job = job
        self._on_entry = on_entry

    def report(self, record: Record) -> None:
        """Append one record."""
        self._on_entry(self._job, self._job.add_record(record))

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def start(job: Job, engine: JobEngine, on_entry: OnEntry, on_end: Callable[[Job], None]) -> None:
    """Run a job that has begun in a thread of its own, and call ``on_end`` from there afterwards.

    If the system allows no more threads, the job fails, and ``on_end`` is called in this thread.
    """

    def run() -> None:
        _run(job, engine, on_entry)
        on_end(job)
        _look_after(job, engine)

    try:
        require(run, job.id)
    except StoreError as error:
        info = ErrorInfo(error.code, error.message, error.hint)
        failed = RunFinished("failed", error.exit_code, 0.0, (), info)
        job.end(follow(iter([failed]), [JobReporter(job, on_entry)]))
        on_end(job)


def end_queued(job: Job, on_entry: OnEntry) -> None:
    """Cancel a job that is no longer in the queue and never started."""
    end = stopped(CANCELLED_IN_QUEUE) if job.is_server_stopping else CANCELLED_IN_QUEUE
    job.end(follow(iter([end]), [JobReporter(job, on_entry)]))


def _run(job: Job, engine: JobEngine, on_entry: OnEntry) -> None:
    """Run a job to its end in the calling thread."""
    try:
        events = _locked(job, _lazy_run(job, engine))
        finished = follow(events, [JobReporter(job, on_entry), *engine.reporters()])
    except Exception as error:
        finished = _bug(error)
    job.end(finished)


def _look_after(job: Job, engine: JobEngine) -> None:
    """Do the upkeep after a download, as a command does; the job has ended, so the next one need not wait."""
    is_download = job.order.operation != "model_verify" and job.state.status == "completed"
    if not is_download or job.is_server_stopping:
        return
    try:
        engine.look_after()
    except Exception as error:  # nothing above would report it
        error_responses.log_exception(error, "the upkeep of the cache failed by a bug")


def _lazy_run(job: Job, engine: JobEngine) -> Generator[Event, None, None]:
    """Start the run with the first event, inside ``follow``, which turns errors of the start into its end."""
    yield from engine.start_run(job.order, job.cancel, job.id)


def _locked(job: Job, events: Generator[Event, None, None]) -> Iterator[Event]:
    """Hold the job's lock while an event is applied and reported: from the event to the request for the next.

    A snapshot takes the same lock, so it never sees an event in the log that is not in the figures. The lock
    is free while the engine works on the next event.
    """
    with closing(events):
        for event in events:
            with job.lock:
                yield stopped(event) if job.is_server_stopping and isinstance(event, RunFinished) else event


def _bug(error: Exception) -> RunFinished:
    """Log a bug for the operator; the followers of the job got it from ``follow`` as the last record."""
    error_responses.log_exception(error, "a job failed by a bug")
    info = ErrorInfo("bug", bug_words(error), "")
    return RunFinished("failed", 1, 0.0, (), info)
