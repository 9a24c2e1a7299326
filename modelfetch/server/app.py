"""The application: the routes, behind the guard.

Handlers that are no coroutines run in threads, so none of them holds up a stream.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from modelfetch.errors import ModelfetchError
from modelfetch.history import History
from modelfetch.server.address import Address
from modelfetch.server.answers import Refusal, refuse, refused
from modelfetch.server.guard import PUBLIC, Guard
from modelfetch.server.job_routes import JobRoutes
from modelfetch.server.jobs import Jobs
from modelfetch.server.look_routes import LookRoutes
from modelfetch.server.panel import INDEX, Panel
from modelfetch.server.workshop import Workshop

_CODES: Final = {HTTPStatus.NOT_FOUND: "not_found", HTTPStatus.METHOD_NOT_ALLOWED: "bad_method"}


def build(jobs: Jobs, workshop: Workshop, history: History, address: Address, token: str) -> ASGIApp:
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
