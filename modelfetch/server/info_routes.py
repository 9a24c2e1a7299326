"""Routes that only report: models, status, history, sources, metrics, and the description of the API itself.

Each answer is one line of JSON (``docs/reference/http-api.md``), but for ``/metrics``, which is text::

    {"models":[...],"faults":[]}
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelfetch.history.metrics import health, metrics_records, prometheus, summary
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.server import status
from modelfetch.server.error_responses import Refusal, json_response
from modelfetch.server.sharing_status import Attempts, nearby_peers
from modelfetch.sources.peer import Peer

if TYPE_CHECKING:
    from modelfetch.history import AttemptRow, History
    from modelfetch.server.job_queue import Jobs
    from modelfetch.server.runner import ServerWorkspace
    from modelfetch.server.sharing_status import SharingStatus


@dataclass(frozen=True, slots=True)
class InfoRoutes:
    """Models, status, history, sources and metrics. Only the reset of the metrics changes anything."""

    jobs: Jobs
    workspace: ServerWorkspace
    history: History
    sharing: SharingStatus
    disk: status.DiskUse = field(default_factory=status.DiskUse)
    can_add: bool = False
    is_sharing: bool = False

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name:path}", self.model, methods=["GET"]),
            Route("/v1/status", self.status, methods=["GET"]),
            Route("/v1/elsewhere", self.elsewhere, methods=["GET"]),
            Route("/v1/history", self.runs, methods=["GET"]),
            Route("/v1/sources", self.sources, methods=["GET"]),
            Route("/v1/sharing", self.shared, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/metrics", self.prometheus, methods=["GET"]),
            *(route for path in status.METRICS_PATHS for route in self._metrics_routes(path)),
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
        return json_response(status.sources(*self._known_attempts()))

    def shared(self, _request: Request) -> Response:
        """Describe what is shared with other machines."""
        workspace = self.workspace.load()
        named = [Peer(address).host for address in workspace.loaded.settings.sources.peers]
        return json_response(self.sharing.document(named, nearby_peers(workspace), self._known_attempts))

    def _known_attempts(self) -> Attempts:
        now = datetime.now(UTC)
        failures = status.last_failures(self.history.attempts(since=now - status.FAILURE_WINDOW))
        return Attempts(self.history.health(now), failures)

    def openapi(self, _request: Request) -> Response:
        """Describe the API."""
        from modelfetch.server.openapi import (
            description,  # few clients need it, so the start does not pay for it
        )

        return json_response(description(is_sharing=self.is_sharing))

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
    text = request.query_params.get("limit", str(status.DEFAULT_RUNS))
    if not (text.isascii() and text.isdecimal() and len(text) <= status.LIMIT_DIGITS):
        message = "limit must be a whole number"
        hint = f"At most {status.MAX_RUNS} are returned."
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, hint)
    return min(int(text), status.MAX_RUNS)
