"""The application: the routes, behind the guard.

Handlers that are no coroutines run in threads, so none of them holds up a stream.

The routes of jobs: submit, look, follow, cancel, retry, clear.

The routes that only look: models, status, history, sources and metrics.
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
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from modelfetch.errors import ModelfetchError
from modelfetch.history.metrics import health, metrics_records, prometheus, summary
from modelfetch.lazy_dataclass import dataclass
from modelfetch.server import status
from modelfetch.server.error_responses import Refusal, answer, refuse, refused
from modelfetch.server.event_streams import Stream, Streams, entries, last_event_id, snapshots
from modelfetch.server.guard import PUBLIC, Guard
from modelfetch.server.job_snapshot import brief
from modelfetch.server.panel import INDEX, Panel
from modelfetch.server.requests import parse_job_id, parse_submission
from modelfetch.server.status import elsewhere

if TYPE_CHECKING:
    from modelfetch.history import AttemptRow, History
    from modelfetch.server.job_queue import Jobs, Known
    from modelfetch.server.listen_address import Address
    from modelfetch.server.runner import ServerWorkspace

_CODES: Final = {HTTPStatus.NOT_FOUND: "not_found", HTTPStatus.METHOD_NOT_ALLOWED: "bad_method"}


def build(jobs: Jobs, workshop: ServerWorkspace, history: History, address: Address, token: str) -> ASGIApp:
    """Make the application.

    Args:
        jobs: The jobs.
        workshop: Settings, catalogs and cache.
        history: What is remembered of earlier runs.
        address: Where the server listens.
        token: What opens everything but the panel's own files.
    """
    routes = [*JobRoutes(jobs).routes(), *LookRoutes(jobs, workshop, history).routes(), *_panel()]
    handlers = {Refusal: _refused, ModelfetchError: _failed, HTTPException: _lost, Exception: _broken}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), address, token)


def _panel() -> list[BaseRoute]:
    panel = Panel()

    async def index(_request: Request) -> Response:
        return panel.answer(INDEX)

    async def static(request: Request) -> Response:
        return panel.answer(request.path_params["path"])

    return [Route("/", index, methods=["GET"]), Route(f"{PUBLIC}{{path:path}}", static, methods=["GET"])]


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal), "registered for refusals"
    return refuse(error)


async def _failed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ModelfetchError), "registered for our errors"
    return refuse(refused(error))


async def _broken(_request: Request, _error: Exception) -> Response:
    """Answer where there is a bug; the guard reports it."""
    return refuse(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "bug", "this is a bug in modelfetch"))


async def _lost(_request: Request, error: Exception) -> Response:
    """Answer a path or a method that no route has."""
    assert isinstance(error, HTTPException), "registered for those"
    status = HTTPStatus(error.status_code)
    response = refuse(Refusal(status, _CODES.get(status, "not_found"), status.phrase.lower()))
    response.headers.update(error.headers or {})
    return response


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """Everything below ``/v1/jobs``."""

    jobs: Jobs
    streams: Streams = field(default_factory=Streams)

    def routes(self) -> list[BaseRoute]:
        """Give the table of routes."""
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
        """Take an order."""
        order = parse_submission(await _body(request))
        submit = partial(self.jobs.submit, order.operation, order.model, repair=order.repair)
        return _taken(*await run_in_threadpool(submit))

    def all(self, _request: Request) -> Response:
        """Describe every job, the newest first."""
        return answer({"jobs": [brief(job.snapshot()) for job in reversed(self.jobs.all())]})

    def one(self, request: Request) -> Response:
        """Describe one job."""
        return answer(self.jobs.get(request.path_params["job_id"]).snapshot())

    def cancel(self, request: Request) -> Response:
        """End a job."""
        job_id = request.path_params["job_id"]
        self.jobs.cancel(job_id)
        return answer({"job_id": job_id, "status": "cancelled"})

    def retry(self, request: Request) -> Response:
        """Do a job once more."""
        return _taken(*self.jobs.retry(request.path_params["job_id"]))

    async def clear(self, request: Request) -> Response:
        """Forget jobs that are over."""
        job_id = parse_job_id(await _body(request))
        return answer({"cleared": await run_in_threadpool(self.jobs.clear, job_id)})

    async def follow(self, request: Request) -> Stream:
        """Stream the log of a job."""
        job = self.jobs.get(request.path_params["job_id"])
        log = await run_in_threadpool(self.jobs.log, job)
        after = last_event_id(request.headers.get("last-event-id"))
        return self.streams.serve(log.following, partial(entries, log, after))

    async def follow_all(self, _request: Request) -> Stream:
        """Stream the snapshots of all jobs."""
        return self.streams.serve(self.jobs.following, partial(snapshots, self.jobs))


def _taken(job: Known, is_new: bool) -> Response:
    document = {"job_id": job.id, "sse_url": f"/v1/jobs/{job.id}/stream"}
    return answer(document, HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK)


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect:
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_request", "the body is not complete") from None


RUNS: Final = 50
"""Runs of the history in an answer, unless another number is asked for."""
MOST_RUNS: Final = 1000
DOWNLOADS: Final = ("/api/metrics/downloads", "/gm/api/metrics/downloads")
"""Where programs look for the metrics: here, and where they were before."""


@dataclass(frozen=True, slots=True)
class LookRoutes:
    """Everything that changes nothing, and the reset of the metrics."""

    jobs: Jobs
    workshop: ServerWorkspace
    history: History
    disk: status.DiskUse = field(default_factory=status.DiskUse)

    def routes(self) -> list[BaseRoute]:
        """Give the table of routes."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name:path}", self.model, methods=["GET"]),
            Route("/v1/status", self.status, methods=["GET"]),
            Route("/v1/elsewhere", self.elsewhere, methods=["GET"]),
            Route("/v1/history", self.runs, methods=["GET"]),
            Route("/v1/sources", self.sources, methods=["GET"]),
            Route("/metrics", self.prometheus, methods=["GET"]),
            *(route for path in DOWNLOADS for route in self._downloads(path)),
        ]

    def _downloads(self, path: str) -> list[BaseRoute]:
        return [
            Route(path, self.records, methods=["GET"]),
            Route(f"{path}/summary", self.summary, methods=["GET"]),
            Route(f"{path}/health", self.health, methods=["GET"]),
            Route(f"{path}/reset", self.reset, methods=["POST"]),
        ]

    def models(self, _request: Request) -> Response:
        """List the models."""
        return answer(status.models(self.workshop.open()))

    def model(self, request: Request) -> Response:
        """Describe one model."""
        return answer(status.model(self.workshop.open(), request.path_params["name"]))

    def status(self, _request: Request) -> Response:
        """Describe the server."""
        workspace = self.workshop.open()
        store = workspace.store
        disk = self.disk.measure(store.root) | {"free": store.free_space()}
        notice = self.history.notice
        return answer(status.status(workspace, self.jobs.all(), self.jobs.counts(), disk, notice))

    def elsewhere(self, _request: Request) -> Response:
        """Say what other processes fetch."""
        return answer(elsewhere(self.workshop.open()))

    def runs(self, request: Request) -> Response:
        """List the runs."""
        return answer(status.runs(self.history.runs(limit=_limit(request))))

    def sources(self, _request: Request) -> Response:
        """Say how each source fared."""
        now = datetime.now(UTC)
        failures = status.last_failures(self.history.attempts(since=now - status.MEMORY))
        return answer(status.sources(self.history.health(now), failures))

    def records(self, _request: Request) -> Response:
        """List the attempts."""
        return answer({"metrics": metrics_records(self._attempts())})

    def summary(self, _request: Request) -> Response:
        """Count the attempts."""
        return answer(summary(self._attempts()))

    def health(self, _request: Request) -> Response:
        """Judge each kind of source."""
        return answer(health(self._attempts()))

    def reset(self, _request: Request) -> Response:
        """Forget all attempts."""
        self.workshop.open().reset_metrics(self.history)
        return answer({"ok": True, "message": "Metrics reset"})

    def prometheus(self, _request: Request) -> Response:
        """Give everything that is remembered in the text format of Prometheus."""
        text = prometheus(self.workshop.open().attempts(self.history), self.history.runs())
        return Response(text + status.job_gauges(self.jobs.counts()), media_type=status.PROMETHEUS)

    def _attempts(self) -> list[AttemptRow]:
        return self.workshop.open().attempts(self.history, datetime.now(UTC) - status.WINDOW)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(RUNS))
    if not (text.isascii() and text.isdecimal() and len(text) < 8):
        message = "limit is a whole number"
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, f"At most {MOST_RUNS} are given.")
    return min(int(text), MOST_RUNS)
