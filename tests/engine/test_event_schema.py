"""The schemas of events describe what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelfetch.engine.event_schema import event_schemas

LINES = (Path(__file__).parents[1] / "data" / "events.jsonl").read_text("utf-8").splitlines()
GOLDEN = {line["event"]: line for line in map(json.loads, LINES)}


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_schema_has_the_properties_of_a_line_in_their_order(kind: str) -> None:
    schema = event_schemas()[kind]
    assert list(schema["properties"]) == schema["required"] == list(GOLDEN[kind])


def test_every_kind_has_a_schema() -> None:
    assert event_schemas().keys() == GOLDEN.keys()


def test_figures_have_the_properties_of_a_line() -> None:
    totals = event_schemas()["progress"]["properties"]["totals"]
    assert totals["required"] == list(GOLDEN["progress"]["totals"])


def test_fields_are_described() -> None:
    schema = event_schemas(lambda kind, name: f"{kind.__name__} {name}")["planned"]["properties"]
    assert schema["size"] == {"description": "Planned size", "type": "integer"}
    entry = schema["files"]["items"]["properties"]
    assert entry["held"]["description"] == "PlannedFile held"
