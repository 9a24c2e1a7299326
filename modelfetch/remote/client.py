"""A running server: its jobs listed, submitted, cancelled, done again and listened to.

Jobs as a server describes them (``docs/reference/http-api.md``), as far as it matters here. Pure.
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
from modelfetch.remote.errors import foreign, refused, unreachable

if TYPE_CHECKING:
    from modelfetch.remote.server_url import Address

CANCEL_SECONDS: Final = 2.0
"""How long a cancel is waited for; the server needs about one second."""


@dataclass(frozen=True, slots=True)
class _Model:
    """What a server says of a model, as far as it matters here."""

    name: str
    kind: Literal["model", "worker", "dataset"]


@dataclass(frozen=True, slots=True)
class _Submitted:
    job_id: str


@dataclass(frozen=True, slots=True)
class _Listed:
    jobs: tuple[Snapshot, ...]


class ServerClient:
    """One server. Its methods ask once, and wait for the answer; several threads may use them.

    Besides what they say themselves, all raise

    - UnavailableError: there was no answer, or none that a modelfetch server gives;
    - AuthorisationError: the token is wrong.

    Attributes:
        base: Its address, without the token.
        cancellation: Ends what is under way.
    """

    def __init__(self, address: Address) -> None:
        self.base = address.base
        self.cancellation = Cancellation()
        self._api = Api(address.base, address.token, self.cancellation)

    def close(self) -> None:
        """Close every connection."""
        self._api.close()

    def find_model(self, name: str) -> tuple[str, str]:
        """Look a model up: its own name, and the operation that makes it present.

        Raises:
            UnknownModelError: No catalog of the server has it.
            ManifestError: Its manifest is wrong.
        """
        doing, path = f"look up {quote(name)}", f"/v1/models/{percent_encode(name, safe='')}"
        found = self._decoded(_Model, doing, self._document(doing, "GET", path))
        return found.name, "worker_download" if found.kind == "worker" else "model_download"

    def submit(self, operation: str, model: str) -> Job:
        """Have something done, or join the job that does it already.

        Raises:
            UnavailableError: The queue is full.
        """
        order = {"operation": operation, "model": model}
        return self._submitted(f"submit {quote(model)}", "/v1/jobs", model, order)

    def retry(self, job: Snapshot) -> Job:
        """Have the same done again.

        Raises:
            UsageError: The job neither failed nor was cancelled.
        """
        return self._submitted(f"retry {shorten(job.job_id)}", f"{_path(job.job_id)}/retry", job.model)

    def jobs(self) -> tuple[Snapshot, ...]:
        """Every job without its files, the newest first."""
        return self._decoded(_Listed, "list the jobs", self.jobs_document()).jobs

    def jobs_document(self) -> dict[str, Any]:
        """The same, as the server sent it."""
        return self._document("list the jobs", "GET", "/v1/jobs")

    def job(self, job_id: str) -> Snapshot:
        """One job with its files.

        Raises:
            UsageError: There is none of this id.
        """
        doing = f"look at {shorten(job_id)}"
        return self._decoded(Snapshot, doing, self._document(doing, "GET", _path(job_id)))

    def find_job(self, text: str) -> Snapshot:
        """The only job whose id begins like this, with or without ``job-``; without its files.

        Raises:
            UsageError: There is none, or more than one.
        """
        found = [job for job in self.jobs() if job.job_id.startswith((text, f"job-{text}"))]
        if len(found) == 1:
            return found[0]
        if not found:
            message = f"there is no job {quote(text)} on the modelfetch server at {self.base}"
            raise UsageError(message, hint="modelfetch jobs shows what there is.")
        fitting = ", ".join(shorten(job.job_id, len(text) + 8) for job in found[:5])
        raise UsageError(f"several jobs begin with {quote(text)}: {fitting}", hint="Give more of the id.")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """End a job; what is good of its files stays on the server. Gives the server's answer.

        Raises:
            UsageError: There is none of this id, or it had ended already.
        """
        return self._document(f"cancel {shorten(job_id)}", "DELETE", _path(job_id), CANCEL_SECONDS)

    def listen(self, job_id: str, after: int | None) -> Stream | Reply:
        """Ask for a job's stream; :meth:`.Api.listen` says what it gives and raises."""
        return self._api.listen(f"{_path(job_id)}/stream", after)

    def _submitted(self, doing: str, path: str, model: str, order: object = None) -> Job:
        reply = self._reply(doing, "POST", path, order)
        submitted = self._decoded(_Submitted, doing, reply.document)
        return Job(submitted.job_id, model, is_ours=reply.status == 202)

    def _document(
        self, doing: str, method: str, path: str, seconds: float = ANSWER_SECONDS
    ) -> dict[str, Any]:
        reply = self._reply(doing, method, path, seconds=seconds)
        if reply.document is None:
            raise foreign(self.base, doing, reply)
        return reply.document

    def _decoded(self, kind: type[T], doing: str, document: object) -> T:
        try:
            return decode(kind, document)
        except ValueError as error:
            raise foreign(self.base, doing, error) from error

    def _reply(
        self, doing: str, method: str, path: str, order: object = None, seconds: float = ANSWER_SECONDS
    ) -> Reply:
        try:
            reply = self._api.request(method, path, order, seconds=seconds)
        except SourceError as error:
            raise unreachable(self.base, doing, error) from error
        if not 200 <= reply.status < 300:
            raise refused(self.base, doing, reply)
        return reply


def _path(job_id: str) -> str:
    return f"/v1/jobs/{percent_encode(job_id, safe='')}"


_SHORT: Final = 12
"""Characters of an id that are shown: ``job-`` and eight digits; no two of a hundred jobs share them."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that can be followed."""

    id: str
    model: str
    is_ours: bool = False
    """Whether it began with our asking, so that it may end with our leaving."""


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
        """How it ended, for the end of a run."""
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
    idle: float | None = None
    """Seconds without a byte; None while bytes come, and from servers that do not say."""
    repair: bool = False
    exit_code: int | None = None
    error: ErrorInfo | None = None
    files: tuple[FileSnapshot, ...] = ()

    @property
    def job(self) -> Job:
        """The job, to follow it."""
        return Job(self.job_id, self.model)

    def finished(self) -> RunFinished | None:
        """How its run ended; None before it has."""
        if self.status == "queued" or self.status == "running":  # noqa: PLR1714 - mypy narrows this only
            return None
        exit_code = int(self.status != "completed") if self.exit_code is None else self.exit_code
        files = tuple(file.result(self.model) for file in self.files)
        return RunFinished(self.status, exit_code, 0.0, files, self.error)


def shorten(job_id: str, least: int = _SHORT) -> str:
    """The beginning of an id: as much as a person needs of it."""
    return job_id[: max(_SHORT, least)]
