"""The requests to a running server, and the jobs in its answers.

:class:`ServerClient` has one method per request of the HTTP API (``docs/reference/http-api.md``). Answers are
decoded into :class:`Job`, :class:`Snapshot` and :class:`FileSnapshot`, which have only the fields that are
used here; unknown fields are ignored, so that a newer server can add some. Every failure is raised as an
error of the package that names the server and what was requested (:mod:`modelfetch.remote.errors`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote as percent_encode

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import ErrorInfo, FileResult, RunFinished, Status
from modelfetch.errors import SourceError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.decode import T, decode
from modelfetch.model.text import quote
from modelfetch.net.json_api import ANSWER_SECONDS, Api, Reply, Stream
from modelfetch.remote.errors import not_a_server, refusal_error, unreachable

if TYPE_CHECKING:
    from modelfetch.remote.server_url import Address

CANCEL_SECONDS: Final = 4.0
"""Seconds to wait for the answer to a cancel: the server's own limit of two seconds for the end of the job,
and time to answer."""
PIN_SECONDS: Final = 150.0
"""Seconds to wait for a reference to be pinned: the server's own limit of two minutes, and time to answer."""
_SHORT_ID: Final = 12
"""Characters of a shortened id: ``job-`` and eight hexadecimal digits, which no two of a hundred jobs
share."""


# Jobs


@dataclass(frozen=True, slots=True)
class Job:
    """A job that can be followed."""

    id: str
    model: str
    is_ours: bool = False
    """Whether this process submitted it and it was new; then it is cancelled when this process is
    interrupted."""


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """One file of a job at one moment."""

    file: str
    size: int
    status: Status
    source: str
    host: str
    note: str

    def result(self, model: str) -> FileResult:
        """Return its outcome in the form of a ``run_finished`` event."""
        return FileResult(
            model, self.file, self.status, self.note, f"{self.source} {self.host}".strip(), self.size
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job at one moment."""

    job_id: str
    operation: str
    model: str
    status: Status
    phase: str
    created_at: str
    received: int
    size: int
    speed: float | None
    eta: float | None
    percent: float
    # Absent in the answers of older servers, or in lists:
    idle: float | None = None
    """Seconds without a byte; None while bytes arrive, and from servers that do not report it."""
    repair: bool = False
    exit_code: int | None = None
    error: ErrorInfo | None = None
    files: tuple[FileSnapshot, ...] = ()

    @property
    def job(self) -> Job:
        """The job, to follow it."""
        return Job(self.job_id, self.model)

    def finished(self) -> RunFinished | None:
        """Return the end of its run; None while it is queued or running."""
        if self.status == "queued" or self.status == "running":  # noqa: PLR1714 - mypy narrows this only
            return None
        exit_code = int(self.status != "completed") if self.exit_code is None else self.exit_code
        files = tuple(file.result(self.model) for file in self.files)
        return RunFinished(self.status, exit_code, 0.0, files, self.error)


def shorten(job_id: str, least: int = _SHORT_ID) -> str:
    """Return the beginning of an id, which identifies it for a person.

    Args:
        job_id: The id.
        least: Characters to keep at least.
    """
    return job_id[: max(_SHORT_ID, least)]


# Requests


@dataclass(frozen=True, slots=True)
class _Model:
    """The answer of ``GET /v1/models/NAME``."""

    name: str
    kind: Literal["model", "worker", "dataset"]


@dataclass(frozen=True, slots=True)
class _Pinned:
    """The answer of ``POST /v1/pins``."""

    name: str
    added: bool


@dataclass(frozen=True, slots=True)
class _Submitted:
    """The answer of ``POST /v1/jobs`` and of a retry."""

    job_id: str


@dataclass(frozen=True, slots=True)
class _JobList:
    """The answer of ``GET /v1/jobs``."""

    jobs: tuple[Snapshot, ...]


class ServerClient:
    """One server. Each method sends one request and waits for the answer; several threads may call them.

    Besides the errors in their own documentation, all methods raise

    - UnavailableError: there was no answer, or none that a modelfetch server sends;
    - AuthorizationError: the token is wrong.

    Attributes:
        base: URL of the server, without the token.
        cancellation: Cancels the requests under way.
    """

    def __init__(self, address: Address) -> None:
        self.base = address.base
        self.cancellation = Cancellation()
        self._api = Api(address.base, address.token, self.cancellation)

    def close(self) -> None:
        """Close every connection."""
        self._api.close()

    def find_model(self, name: str) -> tuple[str, str]:
        """Look up a model: its own name, and the operation that downloads it.

        Raises:
            UnknownModelError: No catalog of the server has it.
            ManifestError: Its manifest is invalid.
        """
        action, path = f"look up {quote(name)}", f"/v1/models/{percent_encode(name, safe='')}"
        found = self._decode(_Model, action, self._document(action, "GET", path))
        return found.name, "worker_download" if found.kind == "worker" else "model_download"

    def add(self, reference: str) -> tuple[str, bool]:
        """Have the server pin a reference in its user's catalog, unless it is pinned already.

        Returns:
            The name of the model, and whether it was added now.

        Raises:
            UsageError: The reference is wrong, or stands for several variants.
            UnknownModelError: It names nothing.
            UnavailableError: The server adds no models, is busy with another one, or the hub does not answer.
        """
        action = f"pin {quote(reference)}"
        reply = self._reply(action, "POST", "/v1/pins", {"reference": reference}, PIN_SECONDS)
        found = self._decode(_Pinned, action, reply.document)
        return found.name, found.added

    def submit(self, operation: str, model: str) -> Job:
        """Submit a job, or join the one that does the same already.

        Raises:
            UnavailableError: The queue is full.
        """
        order = {"operation": operation, "model": model}
        return self._submit(f"submit {quote(model)}", "/v1/jobs", model, order)

    def retry(self, job: Snapshot) -> Job:
        """Retry a job.

        Raises:
            UsageError: The job neither failed nor was cancelled.
        """
        return self._submit(f"retry {shorten(job.job_id)}", f"{_path(job.job_id)}/retry", job.model)

    def jobs(self) -> tuple[Snapshot, ...]:
        """List every job without its files, the newest first."""
        return self._decode(_JobList, "list the jobs", self.jobs_document()).jobs

    def jobs_document(self) -> dict[str, Any]:
        """Return the list of jobs as the server sent it."""
        return self._document("list the jobs", "GET", "/v1/jobs")

    def job(self, job_id: str) -> Snapshot:
        """Return one job with its files.

        Raises:
            UsageError: There is no job with this id.
        """
        action = f"look up {shorten(job_id)}"
        return self._decode(Snapshot, action, self._document(action, "GET", _path(job_id)))

    def find_job(self, text: str) -> Snapshot:
        """Find the only job whose id begins with a text, with or without ``job-``; without its files.

        Raises:
            UsageError: There is none, or more than one.
        """
        found = [job for job in self.jobs() if job.job_id.startswith((text, f"job-{text}"))]
        if len(found) == 1:
            return found[0]
        if not found:
            message = f"there is no job {quote(text)} on the modelfetch server at {self.base}"
            raise UsageError(message, hint="`modelfetch jobs` lists the jobs.")
        # Shown with more characters than were given, so that the ids can be told apart.
        matching = ", ".join(shorten(job.job_id, len(text) + 8) for job in found[:5])
        raise UsageError(
            f"several jobs begin with {quote(text)}: {matching}", hint="Give more characters of the id."
        )

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job and return the server's answer; verified data stays on the server.

        Raises:
            UsageError: There is no job with this id, or it has ended already.
        """
        return self._document(f"cancel {shorten(job_id)}", "DELETE", _path(job_id), CANCEL_SECONDS)

    def open_stream(self, job_id: str, after: int | None) -> Stream | Reply:
        """Open the event stream of a job, from the record after a number or from its beginning.

        Returns and raises what :meth:`.Api.listen` does.
        """
        return self._api.listen(f"{_path(job_id)}/stream", after)

    def _submit(self, action: str, path: str, model: str, order: object = None) -> Job:
        reply = self._reply(action, "POST", path, order)
        submitted = self._decode(_Submitted, action, reply.document)
        return Job(submitted.job_id, model, is_ours=reply.status == 202)  # 200: the job existed already

    def _document(
        self, action: str, method: str, path: str, seconds: float = ANSWER_SECONDS
    ) -> dict[str, Any]:
        reply = self._reply(action, method, path, seconds=seconds)
        if reply.document is None:
            raise not_a_server(self.base, action, reply)
        return reply.document

    def _decode(self, kind: type[T], action: str, document: object) -> T:
        try:
            return decode(kind, document)
        except ValueError as error:
            raise not_a_server(self.base, action, error) from error

    def _reply(
        self, action: str, method: str, path: str, order: object = None, seconds: float = ANSWER_SECONDS
    ) -> Reply:
        try:
            reply = self._api.request(method, path, order, seconds=seconds)
        except SourceError as error:
            raise unreachable(self.base, action, error) from error
        if not 200 <= reply.status < 300:
            raise refusal_error(self.base, action, reply)
        return reply


def _path(job_id: str) -> str:
    # Encoded, because an id that a person typed may contain `/` or `?`.
    return f"/v1/jobs/{percent_encode(job_id, safe='')}"
