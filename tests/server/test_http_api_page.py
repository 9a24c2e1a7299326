"""The documentation of the HTTP API agrees with the server."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from modelfetch.history import AttemptRow, History, RunRow
from modelfetch.server.event_streams import MAX_STREAMS
from modelfetch.server.guard import MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEAD_FIELDS
from modelfetch.server.job_log import MAX_FOLLOWERS, MAX_PROGRESS
from modelfetch.server.job_queue import MAX_ENDED, MAX_ENDED_DAYS, MAX_QUEUED
from modelfetch.server.job_snapshot import MAX_SNAPSHOT_FILES
from modelfetch.server.job_state import OPERATIONS
from modelfetch.server.routes import DEFAULT_RUNS, MAX_RUNS, InfoRoutes, JobRoutes, ModelRoutes
from tests.server.running import Served
from tests.server.test_job_snapshot import BEGUN, PROGRESS, make_snapshot
from tests.server.test_status import NOW, attempt

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "http-api.md").read_text("utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)]


def example(key: str) -> Any:
    """Return the example that has a key."""
    (found,) = (document for document in EXAMPLES if key in document)
    return found


def test_the_example_of_a_snapshot_has_its_fields_in_their_order() -> None:
    snapshot = make_snapshot([*BEGUN, PROGRESS])
    assert list(example("job_id")) == list(snapshot)
    assert list(example("job_id")["files"][0]) == list(snapshot["files"][0])


def test_the_examples_of_models_and_status_have_their_fields(served: Served) -> None:
    (model, *_) = served.ask("GET", "/v1/models").document["models"]
    assert list(example("catalog")) == list(model)
    status = served.ask("GET", "/v1/status").document
    assert list(example("models_downloading")) == list(status)
    assert example("models_downloading")["disk"].keys() == status["disk"].keys()


def test_the_examples_of_history_and_sources_have_their_fields(tmp_path: Path) -> None:
    history = History(tmp_path / "state.db")
    rows: list[AttemptRow] = [attempt()]
    history.write(attempts=rows, runs=[RunRow("r", "ensure", ("m",), NOW, None, "running", None, 0, "")])
    with Served(tmp_path, history=history) as served:
        (run,) = served.ask("GET", "/v1/history").document["runs"]
        (source,) = served.ask("GET", "/v1/sources").document["sources"]
    assert list(example("models")) == list(run)
    assert list(example("samples")) == list(source)


def test_every_route_is_on_the_page(served: Served) -> None:
    routes = [
        *JobRoutes(served.jobs).routes(),
        *ModelRoutes(served.jobs, served.workspace, served.pins).routes(),
        *InfoRoutes(served.jobs, served.workspace, served._history).routes(),
    ]
    for route in routes:
        assert isinstance(route, Route)
        path = route.path.replace("{job_id}", "ID").replace("{name:path}", "NAME")
        path = path.replace("/gm/api", "/api")
        for method in (route.methods or set()) - {"HEAD"}:
            assert re.search(rf"`{method} {re.escape(path)}(\?[^`]*)?`", PAGE), f"{method} {path}"


def codes() -> set[str]:
    """Return the error codes of all refusals in the code."""
    found: set[str] = set()
    for path in (ROOT / "modelfetch" / "server").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
                code = node.args[1]
                if isinstance(code, ast.Constant):
                    found.add(str(code.value))
    return found


def test_every_code_of_an_error_is_on_the_page() -> None:
    assert len(codes()) > 12
    assert {code for code in codes() if f"`{code}`" not in PAGE} == set()


@pytest.mark.parametrize("word", [*OPERATIONS, "falling back", "[DONE]", "[CANCELLED]", "Last-Event-ID"])
def test_the_words_of_the_contract_are_on_the_page(word: str) -> None:
    assert word in PAGE


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    assert f"{MAX_BODY_BYTES // 1024} KiB" in PAGE
    assert f"{MAX_HEAD_BYTES // 1024} KiB and {MAX_HEAD_FIELDS} fields" in PAGE
    assert f"the queue holds {MAX_QUEUED}" in PAGE
    assert f"At most {MAX_FOLLOWERS} readers may follow one job, and {MAX_STREAMS} streams" in PAGE
    assert f"the last {MAX_PROGRESS} are kept" in PAGE
    assert f"more than {MAX_SNAPSHOT_FILES} files" in PAGE
    assert f"limit={DEFAULT_RUNS}" in PAGE
    assert f"at most {MAX_RUNS}" in PAGE
    assert (MAX_ENDED, MAX_ENDED_DAYS) == (100, 7)
    assert "seven days or until a hundred newer ones ended" in " ".join(PAGE.split())
