"""The routes of the HTTP API and of the panel, behind the guard.

- :class:`JobRoutes`: everything below ``/v1/jobs``: submit, query, follow, cancel, retry, clear;
- :class:`ModelRoutes`: what changes models: adding one, and removing one from the cache;
- :class:`modelfetch.server.quarantine_routes.QuarantineRoutes`: data that failed verification;
- :class:`modelfetch.server.info_routes.InfoRoutes`: models, status, history, sources and metrics;
- the files of the panel;
- with ``serve --share``, the shared endpoints (:mod:`modelfetch.server.shared_endpoints`), after all
  others.

Handlers that use the disk or wait for a job are plain functions, which Starlette calls in a thread, or use
``run_in_threadpool``: the event loop must stay free for the streams.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp

from modelfetch.errors import LockTimeoutError, ModelfetchError, UsageError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.server import status
from modelfetch.server.error_responses import Refusal, error_response, json_response, refusal_for
from modelfetch.server.event_streams import Stream, Streams, last_event_id, log_frames, snapshot_frames
from modelfetch.server.guard import PUBLIC, Guard, SharedPaths
from modelfetch.server.info_routes import InfoRoutes
from modelfetch.server.job_snapshot import brief
from modelfetch.server.panel import INDEX, Panel
from modelfetch.server.pins import Pins
from modelfetch.server.quarantine_routes import QuarantineRoutes
from modelfetch.server.requests import parse_job_id, parse_pin, parse_submission, read_body
from modelfetch.server.sharing_status import SharingStatus

if TYPE_CHECKING:
    from modelfetch.history import History
    from modelfetch.server.job_queue import AnyJob, Jobs
    from modelfetch.server.listen_address import Address
    from modelfetch.server.runner import ServerWorkspace
    from modelfetch.server.share_state import ShareState


# The application


def build(
    jobs: Jobs,
    workspace: ServerWorkspace,
    history: History,
    address: Address,
    token: str,
    pins: Pins | None = None,
    share_state: ShareState | None = None,
) -> ASGIApp:
    """Make the application.

    Args:
        jobs: The jobs.
        workspace: Settings, catalogs and cache.
        history: The history of earlier runs.
        address: Where the server listens.
        token: Required for everything but the panel's own files and the shared endpoints.
        pins: Adds models; None adds none.
        share_state: The state of sharing; None shares nothing.
    """
    pins = pins or Pins(workspace, is_allowed=False)
    sharing = _sharing(workspace, share_state)
    shared = _shared_routes(share_state) if share_state is not None else []
    own: list[BaseRoute] = [
        *JobRoutes(jobs).routes(),
        *ModelRoutes(jobs, workspace, pins).routes(),
        *QuarantineRoutes(workspace).routes(),
        *InfoRoutes(
            jobs, workspace, history, sharing, can_add=pins.is_allowed, is_sharing=share_state is not None
        ).routes(),
        *_panel_routes(),
    ]
    handlers = {
        Refusal: _handle_refusal,
        ModelfetchError: _handle_package_error,
        HTTPException: _handle_no_route,
        Exception: _handle_bug,
    }
    app = Starlette(routes=[*own, *shared], exception_handlers=handlers)
    if share_state is None:
        return Guard(app, address, token)
    queries = [route for route in shared if isinstance(route, Route) and "POST" in (route.methods or ())]
    paths = SharedPaths(_patterns(shared), _patterns(own), _patterns(queries))
    return Guard(app, address, token, shared=paths, count=share_state.limits.requests.hold)


def _sharing(workspace: ServerWorkspace, share_state: ShareState | None) -> SharingStatus:
    """Make the state of sharing that the panel shows."""
    uploads = share_state.counters if share_state is not None else None
    if workspace.swarm is None:
        return SharingStatus(workspace.received, uploads)
    from modelfetch.server.swarm_figures import SessionFigures  # only a server with a swarm pays for it

    return SharingStatus(workspace.received, uploads, SessionFigures(workspace.swarm.session))


def _shared_routes(share_state: ShareState) -> list[BaseRoute]:
    # A server that shares nothing needs none of it.
    from modelfetch.server.shared_endpoints import shared_routes

    return shared_routes(share_state)


def _patterns(routes: Sequence[BaseRoute]) -> list[re.Pattern[str]]:
    return [route.path_regex for route in routes if isinstance(route, Route)]


async def _handle_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal), "registered for refusals"
    return error_response(error)


async def _handle_package_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ModelfetchError), "registered for errors of the package"
    return error_response(refusal_for(error))


async def _handle_no_route(request: Request, error: Exception) -> Response:
    """Answer a path or a method that no route has."""
    assert isinstance(error, HTTPException), "registered for these"
    status_code = HTTPStatus(error.status_code)
    code = "bad_method" if status_code is HTTPStatus.METHOD_NOT_ALLOWED else "not_found"
    response = error_response(Refusal(status_code, code, status_code.phrase.lower()))
    if status_code is HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """Return the methods that a path supports: RFC 9110, 15.5.6, requires all of them with 405.

    Starlette names only those of the first route with this path.
    """
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    path = next(route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in routes if route.path == path for method in route.methods or ()})


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
        except UsageError as error:  # the name is not one that a model can have
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown_model", error.message, error.hint) from error
        except LockTimeoutError as error:
            raise Refusal(HTTPStatus.CONFLICT, "in_use", error.message, error.hint) from error
        return json_response(status.removal(removed))
