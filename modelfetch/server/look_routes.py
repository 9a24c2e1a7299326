"""The routes that only look: models, status, history, sources and metrics."""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelfetch.history import AttemptRow, History
from modelfetch.history.metrics import health, metrics_records, prometheus, summary
from modelfetch.server import metrics, status
from modelfetch.server.answers import Refusal, answer
from modelfetch.server.elsewhere import elsewhere
from modelfetch.server.jobs import Jobs
from modelfetch.server.workshop import Workshop
from modelfetch.values import dataclass

RUNS: Final = 50
"""Runs of the history in an answer, unless another number is asked for."""
MOST_RUNS: Final = 1000
DOWNLOADS: Final = ("/api/metrics/downloads", "/gm/api/metrics/downloads")
"""Where programs look for the metrics: here, and where they were before."""


@dataclass(frozen=True, slots=True)
class LookRoutes:
    """Everything that changes nothing, and the reset of the metrics."""

    jobs: Jobs
    workshop: Workshop
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
        return answer(metrics.runs(self.history.runs(limit=_limit(request))))

    def sources(self, _request: Request) -> Response:
        """Say how each source fared."""
        now = datetime.now(UTC)
        failures = metrics.last_failures(self.history.attempts(since=now - metrics.MEMORY))
        return answer(metrics.sources(self.history.health(now), failures))

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
        return Response(text + metrics.job_gauges(self.jobs.counts()), media_type=metrics.PROMETHEUS)

    def _attempts(self) -> list[AttemptRow]:
        return self.workshop.open().attempts(self.history, datetime.now(UTC) - metrics.WINDOW)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(RUNS))
    if not (text.isascii() and text.isdecimal() and len(text) < 8):
        message = "limit is a whole number"
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, f"At most {MOST_RUNS} are given.")
    return min(int(text), MOST_RUNS)
