"""Requests to a server, their answers, and every refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from modelfetch.errors import (
    AuthorizationError,
    ManifestError,
    ModelfetchError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.remote import Address, Job, ServerClient, Snapshot
from tests.origin.listener import refusing_port
from tests.remote.conftest import Connect
from tests.remote.scripted import JOB, TOKEN, Answer, document, refusal, snapshot, stream, whole

JOBS = "GET /v1/jobs"
OTHER = "job-0b999999-5b0a-4a3f-8f56-0c5ee6a7a4c1"


def why(kind: type[ModelfetchError], ask: Callable[[], object]) -> ModelfetchError:
    with pytest.raises(kind) as caught:
        ask()
    assert type(caught.value) is kind
    assert TOKEN not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


@pytest.mark.parametrize(
    ("kind", "operation"),
    [("model", "model_download"), ("dataset", "model_download"), ("worker", "worker_download")],
)
def test_a_model_is_found_by_any_name_with_the_operation_for_it(
    connect: Connect, kind: str, operation: str
) -> None:
    server, _ = connect({"GET /v1/models/my%2Fmodel": [document({"name": "m", "kind": kind, "files": []})]})
    assert server.find_model("my/model") == ("m", operation)


@pytest.mark.parametrize(("status", "added"), [(201, True), (200, False)])
def test_a_reference_is_pinned_or_known_already(connect: Connect, status: int, added: bool) -> None:
    server, script = connect(
        {"POST /v1/pins": [document({"name": "m", "added": added, "files": []}, status)]}
    )
    assert server.add("hf:org/m") == ("m", added)
    assert json.loads(script.asked[0].body) == {"reference": "hf:org/m"}


@pytest.mark.parametrize(("status", "is_ours"), [(202, True), (200, False)])
def test_a_submission_starts_a_job_or_joins_one(connect: Connect, status: int, is_ours: bool) -> None:
    server, script = connect({"POST /v1/jobs": [document({"job_id": JOB, "sse_url": "/x"}, status)]})
    assert server.submit("model_download", "m") == Job(JOB, "m", is_ours)
    assert json.loads(script.asked[0].body) == {"operation": "model_download", "model": "m"}


def test_jobs_are_listed(connect: Connect) -> None:
    server, _ = connect({JOBS: [document({"jobs": [snapshot(), snapshot(OTHER, status="failed")]})]})
    assert [(job.job_id, job.status) for job in server.jobs()] == [(JOB, "running"), (OTHER, "failed")]
    assert server.jobs_document()["jobs"][0] == snapshot()


@pytest.mark.parametrize("text", [JOB, "job-0b54", "0b54c6de-5b", "job-0b54c6de"])
def test_a_job_is_found_by_the_beginning_of_its_id(connect: Connect, text: str) -> None:
    server, _ = connect({JOBS: [document({"jobs": [snapshot(), snapshot(OTHER)]})]})
    assert server.find_job(text).job == Job(JOB, "whisper-base", is_ours=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [("job-0b", "several jobs begin with 'job-0b': job-0b54c6de"), ("", "several"), ("xyz", "no job 'xyz'")],
)
def test_an_unknown_or_ambiguous_id_is_refused(connect: Connect, text: str, words: str) -> None:
    server, _ = connect({JOBS: [document({"jobs": [snapshot(), snapshot(OTHER)]})]})
    assert words in why(UsageError, lambda: server.find_job(text)).message


def test_an_ended_job_has_an_end_and_a_running_one_has_none(connect: Connect) -> None:
    files: list[dict[str, Any]] = [
        {"file": "a", "size": 3, "status": "failed", "source": "url", "host": "h", "note": "not found"}
    ]
    error = {"code": "unavailable", "message": "no source", "hint": "x"}
    over = snapshot(status="failed", exit_code=6, error=error, files=files)
    server, _ = connect({f"GET /v1/jobs/{JOB}": [document(snapshot()), document(over)]})
    assert server.job(JOB).finished() is None
    finished = server.job(JOB).finished()
    assert finished is not None
    assert (finished.outcome, finished.exit_code) == ("failed", 6)
    assert finished.error is not None
    assert finished.error.code == "unavailable"
    [result] = finished.files
    assert (result.model, result.file, result.status, result.source) == (
        "whisper-base",
        "a",
        "failed",
        "url h",
    )


def test_cancelling_and_retrying(connect: Connect) -> None:
    server, script = connect(
        {
            JOBS: [document({"jobs": [snapshot(status="cancelled")]})],
            f"DELETE /v1/jobs/{JOB}": [document({"job_id": JOB, "status": "cancelled"})],
            f"POST /v1/jobs/{JOB}/retry": [document({"job_id": OTHER, "sse_url": "x"}, 202)],
        }
    )
    assert server.cancel(JOB) == {"job_id": JOB, "status": "cancelled"}
    assert server.retry(server.find_job(JOB)) == Job(OTHER, "whisper-base", is_ours=True)
    assert script.asked[-1].body == b""


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("answer", "kind", "words", "hint"),
    [
        (refusal(401, "bad_token", "wrong"), AuthorizationError, "wrong", "modelfetch serve"),
        (refusal(404, "unknown_model", "no catalog", "look"), UnknownModelError, "no catalog", "look"),
        (refusal(404, "unknown_job", "no job"), UsageError, "no job", "modelfetch jobs"),
        (
            refusal(409, "bad_manifest", "m.toml: size: wrong"),
            ManifestError,
            "m.toml: size: wrong",
            "Correct",
        ),
        (refusal(409, "already_ended", "it is completed"), UsageError, "it is completed", "modelfetch jobs"),
        (refusal(409, "not_retryable", "it is running"), UsageError, "it is running", "modelfetch jobs"),
        (refusal(421, "wrong_host", "not me", "Use it"), UnavailableError, "not me", "Use it"),
        (refusal(429, "queue_full", "100 wait", "Later"), UnavailableError, "100 wait", "Later"),
        (refusal(500, "config", "settings"), UnavailableError, "settings", ""),
        (refusal(503, "stopping", "the server ends"), UnavailableError, "the server ends", ""),
        (refusal(418, "brand_new", "a teapot"), UnavailableError, "a teapot", ""),
        (whole(b"<html>"), UnavailableError, "no modelfetch server (HTTP 200, text/html)", "Is it running"),
        (whole(b"<html>", 404), UnavailableError, "no modelfetch server (HTTP 404, text/html)", "address"),
        (whole(b"", 301, location="http://127.0.0.1:1/"), UnavailableError, "(HTTP 301", "address"),
        (document({"error": "no"}, 400), UnavailableError, "no modelfetch server", "address"),
        (document({"error": {"code": 3}}, 400), UnavailableError, "no modelfetch server", "address"),
        (document([]), UnavailableError, "no modelfetch server", "address"),
        (document({"files": 3}), UnavailableError, "(name is missing)", "address"),
        (stream("data: x\n\n"), UnavailableError, "no modelfetch server", "address"),
    ],
)
def test_every_refusal_names_the_server_the_action_and_a_hint(
    connect: Connect, answer: Answer, kind: type[ModelfetchError], words: str, hint: str
) -> None:
    server, _ = connect({"GET /v1/models/m": [answer]})
    error = why(kind, lambda: server.find_model("m"))
    assert error.message.startswith(f"cannot look up 'm': modelfetch server at {server.base}: ")
    assert words in error.message
    assert hint in error.hint


def test_no_server_is_reported_with_a_hint() -> None:
    with refusing_port() as port, closing(ServerClient(Address(f"http://127.0.0.1:{port}", TOKEN))) as server:
        error = why(UnavailableError, server.jobs)
    assert error.message == f"cannot list the jobs: modelfetch server at {server.base}: connection refused"
    assert "modelfetch serve" in error.hint


@pytest.mark.parametrize("other", [{"status": "great"}, {"size": "3"}, {"created_at": None}, {"speed": -1}])
def test_an_invalid_job_is_refused(connect: Connect, other: dict[str, Any]) -> None:
    server, _ = connect({JOBS: [document({"jobs": [snapshot(**other)]})]})
    [field] = other
    message = why(UnavailableError, server.jobs).message
    assert f"(jobs.{field} is " in message
    assert "Snapshot" not in message, "people know no class of ours"


def test_a_job_of_a_newer_server_is_accepted(connect: Connect) -> None:
    server, _ = connect({JOBS: [document({"jobs": [snapshot(priority=3)], "more": 1})]})
    [job] = server.jobs()
    assert isinstance(job, Snapshot)
