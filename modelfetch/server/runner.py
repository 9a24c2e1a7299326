"""Running one job: the same loop over the same engine as a command's, in a thread of its own.

What the server works with: settings, catalogs and cache as they are now, and runs on them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelfetch.engine.events import ErrorInfo, Event, RunFinished
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.setup import RunOptions
from modelfetch.engine.stream import Record, Reporter, bug_words, follow
from modelfetch.errors import ModelfetchError, StoreError
from modelfetch.server import error_responses
from modelfetch.server.job import Job
from modelfetch.server.job_log import Entry
from modelfetch.server.job_state import CANCELLED_IN_QUEUE, Order, stopped
from modelfetch.threads import require
from modelfetch.workspace import Workspace

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.model.manifest import Manifest


class Engine(Protocol):
    """What jobs need of the rest of the package."""

    def find(self, model: str) -> Manifest:
        """Look a model up by its name or an alias.

        Raises:
            UnknownModelError: No catalog has it.
            ManifestError: Its manifest is wrong.
        """

    def play(self, order: Order, cancel: Cancellation, name: str) -> Generator[Event, None, None]:
        """Begin the run that an order asks for; others who wait for it are told its name."""

    def reporters(self) -> Sequence[Reporter]:
        """Make those who are told of a run beside its job."""


Received = Callable[[Job, Entry], None]


class Scribe:
    """Tells a job what happens in its run, and others that the job has changed."""

    def __init__(self, job: Job, told: Received) -> None:
        self._job = job
        self._told = told

    def report(self, record: Record) -> None:
        """Take note of one record."""
        self._told(self._job, self._job.hear(record))

    def close(self) -> None:
        """Nothing was taken."""


def drive(job: Job, engine: Engine, told: Received) -> None:
    """Run a job that has begun to its end, in the calling thread."""
    try:
        finished = follow(_gated(job, _begin(job, engine)), [Scribe(job, told), *engine.reporters()])
    except Exception as error:
        finished = _bug(error)
    job.end(finished)


def skip(job: Job, told: Received) -> None:
    """End a job that never began."""
    end = stopped(CANCELLED_IN_QUEUE) if job.is_stopped else CANCELLED_IN_QUEUE
    job.end(follow(iter([end]), [Scribe(job, told)]))


def _begin(job: Job, engine: Engine) -> Generator[Event, None, None]:
    """Play the run; what goes wrong before its first event ends it too."""
    yield from engine.play(job.order, job.cancel, job.id)


def _gated(job: Job, events: Generator[Event, None, None]) -> Iterator[Event]:
    """Hold the job's lock from an event until the next one is asked for: while it is folded and told."""
    with closing(events):
        for event in events:
            with job.lock:
                yield stopped(event) if job.is_stopped and isinstance(event, RunFinished) else event


def _bug(error: Exception) -> RunFinished:
    """The run was already told of it as its last record; here it goes to who runs the server."""
    error_responses.report(error, "a job failed by a bug")
    info = ErrorInfo("bug", bug_words(error), "")
    return RunFinished("failed", 1, 0.0, (), info)


def start(job: Job, engine: Engine, told: Received, after: Callable[[Job], None]) -> None:
    """Run a job in a thread of its own, and call ``after`` from there when it is over."""

    def run() -> None:
        drive(job, engine, told)
        after(job)

    try:
        require(run, job.id)
    except StoreError as error:
        info = ErrorInfo(error.code, error.message, error.hint)
        failed = RunFinished("failed", error.exit_code, 0.0, (), info)
        job.end(follow(iter([failed]), [Scribe(job, told)]))
        after(job)


class ServerWorkspace:
    """The engine of the jobs (:class:`modelfetch.server.runner.Engine`).

    Settings and catalogs are read anew for each use, so a manifest that was added is known at once.

    Args:
        flags: Settings given on the command line of the server.
        environ: The environment, instead of that of the process.
        cwd: Where a project is looked for, instead of the working directory.
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

    def open(self) -> Workspace:
        """Read settings and list catalogs.

        Raises:
            ConfigError: A setting or a named catalog is wrong.
        """
        return Workspace.open(self._flags, environ=self._environ, cwd=self._cwd)

    def find(self, model: str) -> Manifest:
        """Look a model up by its name or an alias.

        Raises:
            UnknownModelError: No catalog has it.
            ManifestError: Its manifest is wrong.
        """
        return self.open().manifests([model])[0]

    def play(self, order: Order, cancel: Cancellation, name: str) -> Generator[Event, None, None]:
        """Begin the run that an order asks for; others who wait for it are told its name."""
        workspace, options = self.open(), RunOptions(name=name)
        manifests = workspace.manifests([order.model])
        if order.operation == "model_verify":
            return workspace.verify(manifests, options, repair=order.repair, cancel=cancel)
        return workspace.ensure(manifests, EnsureOptions(run=options), cancel=cancel)

    def reporters(self) -> Sequence[Reporter]:
        """Make those who are told of a run beside its job: the history, as for a command."""
        try:
            return (self.open().recorder(),)
        except ModelfetchError:  # the run itself ends with it, and says so
            return ()
