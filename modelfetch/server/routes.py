"""The routes of the HTTP API and of the panel, behind the guard.

- :class:`JobRoutes`: everything below ``/v1/jobs``: submit, query, follow, cancel, retry, clear;
- :class:`ModelRoutes`: what changes models: adding one, and removing one from the cache;
- :class:`modelfetch.server.quarantine_routes.QuarantineRoutes`: data that failed verification;
- :class:`InfoRoutes`: models, status, history, sources and metrics;
- the files of the panel.

Handlers that use the disk or wait for a job are plain functions, which Starlette calls in a thread, or use
``run_in_threadpool``: the event loop must stay free for the streams.
"""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from modelfetch.errors import LockTimeoutError, ModelfetchError
from modelfetch.history.metrics import health, metrics_records, prometheus, summary
from modelfetch.lazy_dataclass import dataclass
from modelfetch.server import status
from modelfetch.server.error_responses import Refusal, error_response, json_response, refusal_for
from modelfetch.server.event_streams import Stream, Streams, last_event_id, log_frames, snapshot_frames
from modelfetch.server.guard import PUBLIC, Guard
from modelfetch.server.job_snapshot import brief
from modelfetch.server.panel import INDEX, Panel
from modelfetch.server.pins import Pins
from modelfetch.server.quarantine_routes import QuarantineRoutes
from modelfetch.server.requests import parse_job_id, parse_pin, parse_submission, read_body

if TYPE_CHECKING:
    from modelfetch.history import AttemptRow, History
    from modelfetch.server.job_queue import AnyJob, Jobs
    from modelfetch.server.listen_address import Address
    from modelfetch.server.runner import ServerWorkspace

DEFAULT_RUNS: Final = 50
"""Runs in the answer of ``/v1/history`` without ``limit``."""
MAX_RUNS: Final = 1000
"""Runs in the answer of ``/v1/history`` at most."""
METRICS_PATHS: Final = ("/api/metrics/downloads", "/gm/api/metrics/downloads")
"""Where programs query the metrics; the second path is that of an earlier system and stays for its
clients."""


# The application


def build(
    jobs: Jobs,
    workspace: ServerWorkspace,
    history: History,
    address: Address,
    token: str,
    pins: Pins | None = None,
) -> ASGIApp:
    """Make the application.

    Args:
        jobs: The jobs.
        workspace: Settings, catalogs and cache.
        history: The history of earlier runs.
        address: Where the server listens.
        token: Required for everything but the panel's own files.
        pins: Adds models; None adds none.
    """
    pins = pins or Pins(workspace, is_allowed=False)
    routes = [
        *JobRoutes(jobs).routes(),
        *ModelRoutes(jobs, workspace, pins).routes(),
        *QuarantineRoutes(workspace).routes(),
        *InfoRoutes(jobs, workspace, history, can_add=pins.is_allowed).routes(),
        *_panel_routes(),
    ]
    handlers = {
        Refusal: _handle_refusal,
        ModelfetchError: _handle_package_error,
        HTTPException: _handle_no_route,
        Exception: _handle_bug,
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), address, token)


async def _handle_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal), "registered for refusals"
    return error_response(error)


async def _handle_package_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ModelfetchError), "registered for errors of the package"
    return error_response(refusal_for(error))


async def _handle_no_route(_request: Request, error: Exception) -> Response:
    """Answer a path or a method that no route has."""
    assert isinstance(error, HTTPException), "registered for these"
    status_code = HTTPStatus(error.status_code)
    code = "bad_method" if status_code is HTTPStatus.METHOD_NOT_ALLOWED else "not_found"
    response = error_response(Refusal(status_code, code, status_code.phrase.lower()))
    response.headers.update(error.headers or {})  # `Allow`, which RFC 9110, 15.5.6, requires with 405
    return response


async def _handle_bug(_request: Request, _error: Exception) -> Response:
    """Answer an unexpected error without its details; the guard logs them for the operator."""
    return error_response(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "bug", "this is a bug in modelfetch"))


def _panel_routes() -> list[BaseRoute]:
    panel = Panel()

    async def index(_request: Request) -> Response:
        return panel.response(INDEX)

    async def static(request: Request) -> Response:
        return panel.response(request.path_params["path"])

    return [Route("/", index, methods=["GET"]), Route(f"{PUBLIC}{{path:path}}", static, methods=["GET"])]


# Jobs


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """Everything below ``/v1/jobs``."""

    jobs: Jobs
    streams: Streams = field(default_factory=Streams)

    def routes(self) -> list[BaseRoute]:
        """Return the routes; the fixed paths stand before ``{job_id}``, which would match them too."""
        return [
            Route("/v1/jobs", self.submit, methods=["POST"]),
            Route("/v1/jobs", self.all, methods=["GET"]),
            Route("/v1/jobs/stream", self.follow_all, methods=["GET"]),
            Route("/v1/jobs/clear", self.clear, methods=["POST"]),
            Route("/v1/jobs/{job_id}", self.one, methods=["GET"]),
            Route("/v1/jobs/{job_id}", self.cancel, methods=["DELETE"]),
            Route("/v1/jobs/{job_id}/retry", self.retry, methods=["POST"]),
            Route("/v1/jobs/{job_id}/stream", self.follow, methods=["GET"]),
        ]

    async def submit(self, request: Request) -> Response:
        """Submit a job."""
        submission = parse_submission(await read_body(request))
        submit = partial(
            self.jobs.submit,
            submission.operation,
            submission.model,
            repair=submission.repair,
            force=submission.force,
        )
        return _submitted(*await run_in_threadpool(submit))

    def all(self, _request: Request) -> Response:
        """Describe every job, the newest first."""
        return json_response({"jobs": [brief(job.snapshot()) for job in reversed(self.jobs.all())]})

    def one(self, request: Request) -> Response:
        """Describe one job."""
        return json_response(self.jobs.get(request.path_params["job_id"]).snapshot())

    def cancel(self, request: Request) -> Response:
        """Cancel a job."""
        job_id = request.path_params["job_id"]
        self.jobs.cancel(job_id)
        return json_response({"job_id": job_id, "status": "cancelled"})

    def retry(self, request: Request) -> Response:
        """Retry a job."""
        return _submitted(*self.jobs.retry(request.path_params["job_id"]))

    async def clear(self, request: Request) -> Response:
        """Forget ended jobs."""
        job_id = parse_job_id(await read_body(request))
        return json_response({"cleared": await run_in_threadpool(self.jobs.clear, job_id)})

    async def follow(self, request: Request) -> Stream:
        """Stream the log of a job."""
        job = self.jobs.get(request.path_params["job_id"])
        log = await run_in_threadpool(self.jobs.log, job)
        after = last_event_id(request.headers.get("last-event-id"))
        return self.streams.response(log.subscribe, partial(log_frames, log, after))

    async def follow_all(self, _request: Request) -> Stream:
        """Stream the snapshots of all jobs."""
        return self.streams.response(self.jobs.subscribe, partial(snapshot_frames, self.jobs))


def _submitted(job: AnyJob, is_new: bool) -> Response:
    document = {"job_id": job.id, "sse_url": f"/v1/jobs/{job.id}/stream"}
    return json_response(document, HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK)


# Models


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """Adding a model to the user's catalog, and removing one from the cache."""

    jobs: Jobs
    workspace: ServerWorkspace
    pins: Pins

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/v1/pins", self.add, methods=["POST"]),
            Route("/v1/models/{name:path}", self.remove, methods=["DELETE"]),
        ]

    async def add(self, request: Request) -> Response:
        """Show what a reference would be pinned as, or pin it."""
        submission = parse_pin(await read_body(request))
        return json_response(*await run_in_threadpool(self.pins.submit, submission))

    def remove(self, request: Request) -> Response:
        """Remove every version of a model from the cache; its pin stays."""
        workspace = self.workspace.load()
        name = request.path_params["name"]
        model = status.known_name(workspace, name)
        if any(job.order.model == model and not job.state.is_over for job in self.jobs.all()):
            hint = "Cancel the job first."
            raise Refusal(HTTPStatus.CONFLICT, "in_use", f"a job works on {model}", hint)
        try:
            removed = workspace.remove(model, dry_run=False)
        except LockTimeoutError as error:
            raise Refusal(HTTPStatus.CONFLICT, "in_use", error.message, error.hint) from error
        return json_response(status.removal(removed))


# Information


@dataclass(frozen=True, slots=True)
class InfoRoutes:
    """Models, status, history, sources and metrics. Only the reset of the metrics changes anything."""

    jobs: Jobs
    workspace: ServerWorkspace
    history: History
    disk: status.DiskUse = field(default_factory=status.DiskUse)
    can_add: bool = False

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name:path}", self.model, methods=["GET"]),
            Route("/v1/status", self.status, methods=["GET"]),
            Route("/v1/elsewhere", self.elsewhere, methods=["GET"]),
            Route("/v1/history", self.runs, methods=["GET"]),
            Route("/v1/sources", self.sources, methods=["GET"]),
            Route("/metrics", self.prometheus, methods=["GET"]),
            *(route for path in METRICS_PATHS for route in self._metrics_routes(path)),
        ]

    def _metrics_routes(self, path: str) -> list[BaseRoute]:
        return [
            Route(path, self.records, methods=["GET"]),
            Route(f"{path}/summary", self.summary, methods=["GET"]),
            Route(f"{path}/health", self.health, methods=["GET"]),
            Route(f"{path}/reset", self.reset, methods=["POST"]),
        ]

    def models(self, _request: Request) -> Response:
        """List the models."""
        return json_response(status.models(self.workspace.load()))

    def model(self, request: Request) -> Response:
        """Describe one model."""
        return json_response(status.model(self.workspace.load(), request.path_params["name"]))

    def status(self, _request: Request) -> Response:
        """Describe the server."""
        workspace = self.workspace.load()
        store = workspace.store
        disk = self.disk.measure(store.root) | {"free": store.free_space()}
        notice = self.history.notice
        document = status.status(workspace, self.jobs.all(), self.jobs.counts(), disk, notice)
        return json_response(document | {"can_add": self.can_add})

    def elsewhere(self, _request: Request) -> Response:
        """List what other processes fetch into the same cache."""
        return json_response(status.elsewhere(self.workspace.load()))

    def runs(self, request: Request) -> Response:
        """List the runs of the history."""
        return json_response(status.runs(self.history.runs(limit=_limit(request))))

    def sources(self, _request: Request) -> Response:
        """List the sources with their health."""
        now = datetime.now(UTC)
        failures = status.last_failures(self.history.attempts(since=now - status.FAILURE_WINDOW))
        return json_response(status.sources(self.history.health(now), failures))

    def records(self, _request: Request) -> Response:
        """List the attempts of the last day."""
        return json_response({"metrics": metrics_records(self._attempts())})

    def summary(self, _request: Request) -> Response:
        """Count the attempts of the last day."""
        return json_response(summary(self._attempts()))

    def health(self, _request: Request) -> Response:
        """Report the health of each kind of source over the last day."""
        return json_response(health(self._attempts()))

    def reset(self, _request: Request) -> Response:
        """Forget all attempts."""
        self.workspace.load().reset_metrics(self.history)
        return json_response({"ok": True, "message": "Metrics reset"})

    def prometheus(self, _request: Request) -> Response:
        """Report all recorded metrics in the text format of Prometheus."""
        text = prometheus(self.workspace.load().attempts(self.history), self.history.runs())
        return Response(text + status.job_gauges(self.jobs.counts()), media_type=status.PROMETHEUS)

    def _attempts(self) -> list[AttemptRow]:
        return self.workspace.load().attempts(self.history, datetime.now(UTC) - status.METRICS_WINDOW)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_RUNS))
    if not (text.isascii() and text.isdecimal() and len(text) < 8):
        message = "limit must be a whole number"
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, f"At most {MAX_RUNS} are returned.")
    return min(int(text), MAX_RUNS)
