"""The routes of jobs: submit, look, follow, cancel, retry, clear."""

from __future__ import annotations

from dataclasses import field
from functools import partial
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelfetch.server.answers import Refusal, answer
from modelfetch.server.bodies import parse_job_id, parse_submission
from modelfetch.server.jobs import Jobs, Known
from modelfetch.server.snapshots import brief
from modelfetch.server.sse import Stream, Streams, entries, last_event_id
from modelfetch.server.watch import snapshots
from modelfetch.values import dataclass


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
