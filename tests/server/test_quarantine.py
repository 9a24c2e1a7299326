"""Quarantine over HTTP: entries are listed, shown, given back to where they were, and removed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from modelfetch.server.job_state import Operation
from modelfetch.store import Store
from modelfetch.store.evidence import Evidence
from tests.origin import Origin, model
from tests.server.running import FakeEngine, Served, until
from tests.server.test_cancel import real
from tests.store.material import digest, noise, spec

WRONG = noise(5000, seed=7)
RIGHT = digest(b"right")


def put(served: Served, path: Path, right: bytes = b"right") -> Evidence:
    """Move wrong bytes into quarantine."""
    path.write_bytes(WRONG)
    store: Store = served.workspace.load().store
    entry = store.quarantine(path, spec(right, "dir/a"), actual=digest(WRONG), source="mirror a")
    return next(each for each in store.evidence() if each.directory == entry)


def test_entries_are_listed_and_shown(served: Served, tmp_path: Path) -> None:
    assert served.ask("GET", "/v1/quarantine").document == {"entries": []}
    entry = put(served, tmp_path / "a")
    (document,) = served.ask("GET", "/v1/quarantine").document["entries"]
    assert (document["id"], document["expected"], document["actual"]) == (RIGHT, RIGHT, digest(WRONG))
    assert (document["size"], document["source"], document["path"]) == (5000, "mirror a", f"{tmp_path}/a")
    for named in (RIGHT, RIGHT[:6], entry.key):
        assert served.ask("GET", f"/v1/quarantine/{named}").document == document


def test_data_goes_back_to_where_it_was(served: Served, tmp_path: Path) -> None:
    put(served, tmp_path / "a")
    answer = served.ask("POST", f"/v1/quarantine/{RIGHT[:12]}/restore")
    assert (answer.status, answer.document) == (200, {"id": RIGHT, "path": str(tmp_path / "a")})
    assert (tmp_path / "a").read_bytes() == WRONG
    assert served.ask("GET", "/v1/quarantine").document == {"entries": []}


def test_no_file_is_replaced_and_no_path_is_chosen(served: Served, tmp_path: Path) -> None:
    put(served, tmp_path / "a")
    path = f"/v1/quarantine/{RIGHT}/restore"
    refused = served.ask("POST", path, {"to": str(tmp_path / "b")})
    assert (refused.status, refused.code) == (400, "bad_request")
    (tmp_path / "a").write_bytes(b"new")
    refused = served.ask("POST", path, {})
    assert (refused.status, refused.code) == (409, "not_restorable")
    assert "quarantine restore ID --to FILE" in refused.document["error"]["hint"]
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").exists()) == (b"new", False)


def test_an_entry_is_removed(served: Served, tmp_path: Path) -> None:
    entry = put(served, tmp_path / "a")
    answer = served.ask("DELETE", f"/v1/quarantine/{RIGHT}")
    assert (answer.status, answer.document["id"]) == (200, RIGHT)
    assert answer.document["paths"] == [str(entry.directory / name) for name in ("data", "reason.json")]
    assert answer.document["freed"] >= len(WRONG)
    assert not entry.directory.exists()


def test_an_entry_that_another_process_begins_stays(served: Served, tmp_path: Path) -> None:
    entry = put(served, tmp_path / "a")
    (entry.directory / "data").unlink()
    answer = served.ask("DELETE", f"/v1/quarantine/{RIGHT}")
    assert (answer.status, answer.code) == (409, "in_use")
    assert entry.directory.exists()


@pytest.mark.parametrize(
    "method", ["DELETE", *(pytest.param(each, marks=pytest.mark.slow) for each in ("GET", "POST"))]
)
def test_what_names_no_entry_or_several_is_refused(served: Served, tmp_path: Path, method: str) -> None:
    ids = [digest(bytes([n])) for n in range(17)]
    first = next(digit for digit in "0123456789abcdef" if sum(each[0] == digit for each in ids) > 1)
    for n in range(17):
        put(served, tmp_path / str(n), bytes([n]))
    end = "/restore" if method == "POST" else ""
    several = served.ask(method, f"/v1/quarantine/{first}{end}")
    assert (several.status, several.code) == (409, "ambiguous_id")
    for strange in ("x", "%2e%2e", "g" * 64):
        none = served.ask(method, f"/v1/quarantine/{strange}{end}")
        assert (none.status, none.code) == (404, "unknown_entry")
    assert len(served.ask("GET", "/v1/quarantine").document["entries"]) == 17


# The upkeep, which removes what is past its days


@pytest.mark.parametrize(("operation", "times"), [("model_download", 1), ("model_verify", 0)])
def test_only_a_download_is_followed_by_the_upkeep(tmp_path: Path, operation: Operation, times: int) -> None:
    engine = FakeEngine()
    with Served(tmp_path, engine) as served:
        served.until_over(served.submit(operation=operation))
        served.until_over(served.submit("n"))
        until(lambda: engine.looked_after >= 1 + times)
    assert engine.looked_after == 1 + times


def test_old_entries_are_removed_after_a_job_and_that_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with (
        Origin() as origin,
        real(tmp_path, model(origin, {"a": 100}, catalog=tmp_path / "catalog")) as served,
    ):
        old = put(served, tmp_path / "a")
        aged = old.directory.with_name(f"20200101T000000.000000Z-{RIGHT}")
        old.directory.rename(aged)
        served.until_over(served.submit())
        until(lambda: caplog.messages)
        assert not aged.exists()
    (line,) = caplog.messages
    assert line.startswith("note: removed 1 old quarantine entry (2 files): freed ")
