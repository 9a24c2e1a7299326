"""The schemas are complete and right, and what every command prints about one model follows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfetch.cli.output import EVENT_COMMANDS
from modelfetch.cli.serve import _listening
from modelfetch.server.listen_address import Address
from tests.e2e.command import InProcess
from tests.origin import Origin, model
from tests.remote.scripted import Script, document, serving, snapshot
from tests.schemas import events
from tests.schemas.checking import (
    DIALECT,
    DIRECTORY,
    check_event,
    check_output,
    documents,
    fault,
    schema_of_command,
)
from tests.test_docs import COMMANDS, REFERENCE, ROOT, blocks, section, tables, terms

NO_COMMAND = {"common", "error", "events"}
ELSEWHERE = {"diff", "upgrade", "bundle-push"}
"""Commands that need an upstream or a registry: see tests/cli/test_upgrade.py and tests/hubs/test_push.py."""


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object in a schema."""
    if isinstance(schema, dict):
        yield schema
    for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from nodes(child)


def test_every_command_has_json_and_a_schema() -> None:
    options = [{name for option in command.params for name in option.opts} for command in COMMANDS.values()]
    assert all("--json" in names for names in options)
    words = [name.split()[1:] for name in COMMANDS]
    assert {schema_of_command(each) for each in words} | NO_COMMAND == {*documents()}


@pytest.mark.slow
@pytest.mark.parametrize("name", documents())
def test_a_schema_is_valid(name: str) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(documents()[name])


@pytest.mark.parametrize("name", documents())
def test_a_schema_is_complete(name: str) -> None:
    schema = documents()[name]
    assert schema["$schema"] == DIALECT
    assert schema["$id"] == f"{name}.json"
    assert schema["title"]
    assert schema["description"]
    for node in nodes(schema):
        properties = node.get("properties", {}) if node.get("type") else {}
        assert [key for key, each in properties.items() if not {"description", "$ref"} & {*each}] == []
        assert " below" not in node.get("description", ""), "a schema is read without the page"
        assert {*node.get("required", ())} <= {*properties}
        assert "additionalProperties" not in node or not properties, "objects stay open"
        assert _leads_somewhere(name, node.get("$ref", "#"))


def _leads_somewhere(name: str, reference: str) -> bool:
    file, _, path = reference.partition("#")
    found: Any = documents()[file.removesuffix(".json") or name]
    for part in path.split("/")[1:]:
        found = found[part]
    return isinstance(found, dict)


def test_milliseconds_are_in_the_name_or_in_the_rules_of_the_page() -> None:
    """All other times are in seconds."""
    excepted = terms(section(REFERENCE / "json.md", "Rules for readers"))
    properties = [
        (key, each.get("description", ""))
        for name in documents()
        for node in nodes(documents()[name])
        for key, each in (node.get("properties", {}) if node.get("type") else {}).items()
    ]
    found = {key for key, text in properties if "in milliseconds" in text or text.startswith("Milliseconds")}
    assert "latency_ms" in found
    assert {key for key in found if key != "ms" and not key.endswith("_ms")} <= {*excepted}


def test_the_schema_of_events_is_up_to_date() -> None:
    """Written by ``python -m tests.schemas``."""
    assert (DIRECTORY / "events.json").read_text("utf-8") == events.text()


def test_every_kind_of_event_follows_its_schema() -> None:
    lines = (ROOT / "tests/data/events.jsonl").read_text("utf-8").splitlines()
    golden = [json.loads(line) | {"run": "0123456789ab"} for line in lines]
    for event in golden:
        check_event(event)
        check_event(event | {"human": "words"})
    assert fault("events.json", golden[0]) == ""


def test_a_property_that_no_schema_has_is_a_fault() -> None:
    path = {"model": "m", "version": "1", "path": "/m"}
    assert fault("path.json", path) == ""
    assert "'more' was unexpected" in fault("path.json", path | {"more": 1})
    assert "'version' is a required property" in fault("path.json", {"model": "m", "path": "/m"})
    with pytest.raises(AssertionError, match="'more' was unexpected"):
        check_output(["path", "m", "--json"], 0, json.dumps(path | {"more": 1}))
    with pytest.raises(AssertionError):
        check_output(["path", "m", "--json"], 4, '{"error": {"code": "offline"}, "exit_code": 4}')
    entry = {"code": "c", "message": "m", "hint": "", "more": 1}
    assert "'more' was unexpected" in fault("error.json", {"error": entry, "exit_code": 2})


def test_a_reader_of_the_published_schemas_takes_what_a_later_version_adds() -> None:
    from jsonschema import Draft202012Validator

    path = {"model": "m", "version": "1", "path": "/m", "more": 1}
    Draft202012Validator(documents()["path"]).validate(path)


SCENE: list[tuple[str, int]] = [
    ("plan m", 0),
    ("ensure m", 0),
    ("verify", 0),
    ("list --present --size", 0),
    ("show m", 0),
    ("path m", 0),
    ("verify m --strict --repair", 0),
    ("find DIGEST", 0),
    ("cid pinned/a.bin pinned", 0),
    ("publish m --car m.car --skeleton m.skeleton.car", 0),
    ("swarm publish m --tracker udp://t.example:1", 0),
    ("show m", 0),
    ("add ./pinned", 0),
    ("outdated pinned", 0),
    ("adopt ./adopted", 0),
    ("bundle create m -o demo.tar", 0),
    ("bundle inspect demo.tar", 0),
    ("bundle verify demo.tar", 0),
    ("bundle import demo.tar --name other", 0),
    ("cache-key demo", 0),
    ("ci github demo", 0),
    ("completion bash", 0),
    ("man", 0),
    ("history", 0),
    ("log", 0),
    ("metrics", 0),
    ("metrics summary", 0),
    ("metrics health", 0),
    ("metrics reset", 0),
    ("sources", 0),
    ("doctor --offline", 0),
    ("config set network.files 3", 0),
    ("config show", 0),
    ("config path", 0),
    ("config unset network.files", 0),
    ("quarantine list", 0),
    ("quarantine show ID", 0),
    ("quarantine purge ID --dry-run", 0),
    ("quarantine restore ID --to back.bin", 0),
    ("gc --dry-run", 0),
    ("remove other", 0),
    ("remove m pinned", 0),
    ("jobs", 0),
    ("cancel job", 0),
    ("retry job", 0),
]
"""Calls about one model, in this order, and how they end."""


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    cli = InProcess(tmp_path)
    for name in ("pinned", "adopted"):
        (cli.work / name).mkdir()
        (cli.work / name / "a.bin").write_bytes(name.encode())
    return cli


def test_every_command_prints_what_its_schema_says(cli: InProcess) -> None:
    """What each prints is compared with its schema by the call itself."""
    places: dict[str, str] = {}
    with Origin() as origin, serving(_server()) as address:
        cli.serve(model(origin, {"a.bin": 5000, "b/c.bin": 50}, catalog=cli.catalog))
        cli.environment["MODELFETCH_SERVER"] = f"{address.base}/#token={address.token}"
        for call, code in SCENE:
            words = [places.get(word, word) for word in call.split()]
            result = cli(*words, "--json")
            assert result.code == code, (call, result.err, result.out)
            if call == "path m":  # the quarantine gets what no manifest lists
                Path(result.document["path"], "extra.bin").write_bytes(b"extra")
            if call == "show m":
                places["DIGEST"] = result.document["files"][0]["sha256"]
            if call == "quarantine list":
                places["ID"] = result.document["entries"][0]["id"]


def _server() -> Script:
    job = snapshot("job-0b54c6de-5b0a-4a3f-8f56-0c5ee6a7a4c1", status="failed", phase="failed", idle=None)
    path = f"/v1/jobs/{job['job_id']}"
    return Script(
        {
            "GET /v1/jobs": [document({"jobs": [job]})] * 3,
            f"DELETE {path}": [document({"job_id": job["job_id"], "status": "cancelled"})],
            f"POST {path}/retry": [document({"job_id": "job-new"}, 202)],
        }
    )


def test_the_scene_has_every_command() -> None:
    called = {schema_of_command(call.split()) for call, _ in SCENE}
    assert called | ELSEWHERE | {"serve"} | NO_COMMAND == {*documents()}
    assert {"ensure", "verify", "attach"} <= EVENT_COMMANDS


@pytest.mark.parametrize("public", ["", "https://models.example.org"])
def test_the_address_of_a_server_follows_its_schema(public: str, capsys: pytest.CaptureFixture[str]) -> None:
    _listening(True, Address("127.0.0.1", "127.0.0.1", 8765, public=public), "token")
    check_output(["serve", "--json"], 0, capsys.readouterr().out)


def test_the_reference_lists_the_schema_of_every_command() -> None:
    rows = tables(section(REFERENCE / "json.md", "Schemas"))[0]
    listed = {term: row[1] for row in rows for term in terms(row[0])}
    expected = {name.removeprefix("modelfetch "): schema_of_command(name.split()[1:]) for name in COMMANDS}
    assert listed == {name: f"[{schema}](schemas/{schema}.json)" for name, schema in expected.items()}


def test_the_examples_of_errors_follow_their_schemas() -> None:
    [block] = blocks(REFERENCE / "json.md", "json")
    event, document = map(json.loads, block.splitlines())
    assert (fault("events.json", event), fault("error.json", document)) == ("", "")
