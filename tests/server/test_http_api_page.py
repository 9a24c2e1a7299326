"""The documentation of the HTTP API agrees with the server."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from modelfetch.history import AttemptRow, History, RunRow
from modelfetch.server.api_documents import Entry, Model, Pinned, ServerStatus, Source
from modelfetch.server.api_job_documents import Job, JobFile
from modelfetch.server.api_sharing_documents import SharingState
from modelfetch.server.api_table import ENDPOINTS, ERRORS, Endpoint
from modelfetch.server.event_streams import MAX_STREAMS
from modelfetch.server.guard import MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEAD_FIELDS
from modelfetch.server.job_log import MAX_FOLLOWERS, MAX_PROGRESS
from modelfetch.server.job_queue import MAX_ENDED, MAX_ENDED_DAYS, MAX_QUEUED
from modelfetch.server.job_snapshot import MAX_SNAPSHOT_FILES
from modelfetch.server.job_state import OPERATIONS
from modelfetch.server.share_table import SHARED_ENDPOINTS
from modelfetch.server.status import DEFAULT_RUNS, MAX_RUNS
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


def shown(path: str) -> str:
    """Write the path of a route as the page does."""
    words = {
        "{job_id}": "ID",
        "{entry_id}": "ID",
        "{name:path}": "NAME",
        "{digest}": "DIGEST",
        "{name}": "NAME",
        "{owner}": "OWNER",
        "{repo}": "REPO",
        "{repo:path}": "REPO",
        "{type}": "TYPE",
        "{file:path}": "REVISION/PATH",
        "{content:path}": "CID",
        "{item:path}": "NAME",
    }
    words["{revision}"] = "REVISION"
    for name, word in words.items():
        path = path.replace(name, word)
    return path.replace("/gm/api", "/api")


@pytest.mark.parametrize(
    "endpoint",
    [*ENDPOINTS, *SHARED_ENDPOINTS],
    ids=lambda endpoint: f"{endpoint.method} {endpoint.path}",
)
def test_every_endpoint_is_on_the_page_with_its_errors_and_keys(endpoint: Endpoint) -> None:
    title = rf"`{endpoint.method} {re.escape(shown(endpoint.path))}(\?[^`]*)?`"
    assert re.search(title, PAGE)
    heading = re.search(rf"^### {title}\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    if heading is None:  # one of the short ones, which share a section
        assert endpoint.body is None
        return
    section = heading[2]
    for answer in endpoint.answers:
        if len(endpoint.answers) > 1 or answer.status != 200:
            assert str(answer.status) in section
    # 500 and 502 have one meaning for all endpoints, and their codes are in the table of all codes.
    for code in set(endpoint.codes) - {"bad_request", "stopping"}:
        assert ERRORS[code] in (502, 504) or f"`{code}`" in section, code
    for key in keys(endpoint.body.schema) if endpoint.body else ():
        assert f"`{key}`" in section or f'"{key}"' in section, key


def keys(schema: Any) -> set[str]:
    """Return the properties of an object, whichever of its forms it has."""
    return set(schema.get("properties", ())).union(*map(keys, schema.get("oneOf", ())))


def test_the_codes_of_each_status_are_on_the_page() -> None:
    (table,) = re.findall(r"\| status \| `code` \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
    listed = re.findall(r"^\| ([0-9, ]+) \| (.*) \|$", table, re.MULTILINE)
    by_code = {code: cells for cells, words in listed for code in re.findall(r"`([a-z_]+)`", words)}
    for code, status in ERRORS.items():
        assert str(int(status)) in by_code.get(code, "500"), code


def test_the_examples_have_the_fields_of_the_types() -> None:
    kinds = {
        "job_id": Job,
        "catalog": Model,
        "notices": Pinned,
        "directory": Entry,
        "models_error": ServerStatus,
        "finds_peers": SharingState,
    }
    for key, kind in kinds.items():
        found = next(block for block in EXAMPLES if f'"{key}"' in json.dumps(block))
        assert list(found) == [field.name for field in fields(kind)]
    assert list(example("job_id")["files"][0]) == [field.name for field in fields(JobFile)]
    assert list(example("samples")) == [field.name for field in fields(Source)]


def refusals() -> Iterator[tuple[str, str]]:
    """Yield the name of the status and the code of each refusal in the code that states both."""
    for path in (ROOT / "modelfetch" / "server").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
                status, code = node.args[:2]
                if isinstance(status, ast.Attribute) and isinstance(code, ast.Constant):
                    yield status.attr, str(code.value)


@pytest.mark.slow
def test_each_refusal_has_the_status_that_the_table_gives_its_code() -> None:
    # By number: some names are others from Python 3.13 on, and the old ones stay as aliases.
    found = {(HTTPStatus[name].value, code) for name, code in refusals()}
    assert len(found) > 12
    assert found == {(ERRORS[code], code) for _, code in found}


def test_every_code_of_an_error_is_on_the_page() -> None:
    assert {code for _, code in refusals() if f"`{code}`" not in PAGE} == set()


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
