"""What the server reports about models, disk, history and sources."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelfetch import __version__
from modelfetch.cancel import Cancellation
from modelfetch.engine.events import ErrorInfo, Event, RunFinished, RunStarted
from modelfetch.history import AttemptRow, History, RunRow
from modelfetch.model.manifest import PinOrigin
from modelfetch.pins.outdated import Checked, record, record_pinned
from modelfetch.server.job_state import Order
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.status import DiskUse, disk_use
from tests.origin import Origin, model
from tests.pins.moving import pin, written
from tests.server.running import FakeEngine, Served, until
from tests.server.test_cancel import real

NOW = datetime.now(UTC)


def attempt(host: str = "a.example", *, hours: float = 1.0, outcome: str = "success") -> AttemptRow:
    return AttemptRow(
        *("r1", "m", "f.bin", "mirror", host, 1, NOW - timedelta(hours=hours), 0.1, 1.0),
        *(0, 1_000_000, 1_000_000, outcome, "" if outcome == "success" else "stall", ""),  # type: ignore[arg-type]
    )


@pytest.fixture
def with_history(tmp_path: Path) -> Iterator[Served]:
    """A server with a history."""
    history = History(tmp_path / "state.db")
    rows = [attempt(), attempt("b.example", outcome="error"), attempt(hours=30)]
    runs = [
        RunRow(f"r{n}", "ensure", ("m",), NOW + timedelta(seconds=n), None, "running", None, 0, "")
        for n in range(60)
    ]
    history.write(attempts=rows, runs=runs)
    with Served(tmp_path, history=history) as server:
        yield server


def get(server: Served, path: str) -> Any:
    answer = server.ask("GET", path)
    assert answer.status == 200, answer
    return answer.document


# Models


def test_every_model_of_the_catalogs_is_listed(served: Served) -> None:
    document = get(served, "/v1/models")
    names = [each["name"] for each in document["models"]]
    assert names == sorted(names)
    (whisper,) = (each for each in document["models"] if each["name"] == "whisper-base")
    assert (whisper["kind"], whisper["license"], whisper["permissive"]) == ("model", "Apache-2.0", True)
    assert (whisper["present"], whisper["partial"], whisper["catalog"]) == (False, 0, "built-in")
    assert whisper["aliases"] == ["onnx-community/whisper-base"]
    assert whisper["files"] == 9
    assert document["faults"] == []


def test_one_model_is_described_in_full_by_its_name_and_by_an_alias(served: Served) -> None:
    document = get(served, "/v1/models/whisper-base")
    assert document == get(served, "/v1/models/onnx-community/whisper-base")
    assert len(document["files"]) == 9
    assert len(document["identity"]) == 64
    file = document["files"][0]
    assert set(file) == {"file", "size", "sha256", "state", "held"}
    assert (file["state"], file["held"]) == ("missing", 0)
    assert sum(file["size"] for file in document["files"]) == document["size"]


def test_an_unknown_model_is_not_found_with_a_suggestion(served: Served) -> None:
    answer = served.ask("GET", "/v1/models/wisper-base")
    assert (answer.status, answer.code) == (404, "unknown_model")
    assert "Did you mean 'whisper-base'?" in answer.document["error"]["message"]


def test_present_and_partial_files_are_reported(tmp_path: Path) -> None:
    with Origin() as origin:
        catalog = tmp_path / "catalog"
        here = model(origin, {"a.bin": 1000, "b.bin": 500}, name="here", catalog=catalog)
        model(origin, {"a.bin": here.contents["a.bin"], "b.bin": 2000}, name="half", catalog=catalog)
        (catalog / "bad.toml").write_text("schema = 2")
        with real(tmp_path, here) as server:
            assert server.until_over(server.submit("here"))["status"] == "completed"
            models = {each["name"]: each for each in get(server, "/v1/models")["models"]}
            assert (models["here"]["present"], models["here"]["partial"]) == (True, 0)
            assert Path(models["here"]["path"], "a.bin").stat().st_size == 1000
            assert (models["half"]["present"], models["half"]["partial"]) == (False, 1000)
            for name, states in (("here", ["kept", "kept"]), ("half", ["partial", "missing"])):
                files = get(server, f"/v1/models/{name}")["files"]
                assert [file["state"] for file in files] == states
            faults = get(server, "/v1/models")["faults"]
            assert [fault["name"] for fault in faults] == ["bad"]
            assert server.ask("GET", "/v1/models/bad").code == "bad_manifest"
            bad = server.ask("POST", "/v1/jobs", {"operation": "model_download", "model": "bad"})
            assert (bad.status, bad.code) == (409, "bad_manifest")
            status = get(server, "/v1/status")
            assert status["models_complete"] == ["here"]
            assert status["disk"]["used"] >= status["disk"]["blobs"] >= 1500


def test_an_added_manifest_is_available_at_once(tmp_path: Path) -> None:
    with Origin() as origin:
        first = model(origin, {"a.bin": 10}, name="first", catalog=tmp_path / "catalog")
        with real(tmp_path, first) as server:
            assert server.ask("GET", "/v1/models/second").status == 404
            model(origin, {"a.bin": 10}, name="second", catalog=tmp_path / "catalog")
            assert get(server, "/v1/models/second")["name"] == "second"
            assert server.until_over(server.submit("second"))["status"] == "completed"


# Status


def test_the_status_lists_running_failed_and_present_models(tmp_path: Path) -> None:
    def by_model(order: Order, cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        if order.model == "m":
            yield RunFinished("failed", 6, 0.0, (), ErrorInfo("unavailable", "no source", "try"))
        while not cancel.cancelled:
            cancel.sleep(0.001)

    with Served(tmp_path, FakeEngine(by_model), parallel=1) as server:
        server.until_over(server.submit("m"))
        server.submit("n")
        server.submit("o", "model_verify")
        until(lambda: server.jobs.counts() == {"queued": 1, "running": 1}, "the place of the first one")
        status = get(server, "/v1/status")
    assert status["version"] == __version__
    assert status["models_downloading"] == ["n"]
    assert status["jobs"] == {"queued": 1, "running": 1}
    assert status["models_error"] == {"m": {"code": "unavailable", "message": "no source", "hint": "try"}}
    assert status["stale"] == status["updates"] == []
    assert status["disk"]["free"] > 0
    assert status["history_notice"] == ""


def test_the_status_and_the_models_flag_pins_that_moved_or_were_not_checked(tmp_path: Path) -> None:
    environ = {
        "HOME": str(tmp_path),
        "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
        "MODELFETCH_CONFIG": str(tmp_path / "config.toml"),
    }
    workspace = ServerWorkspace({}, environ=environ, cwd=tmp_path)
    moved, fresh = pin("moved"), pin("fresh", "hf:org/fresh")
    old = pin("old", "hf:org/old@main")
    origin = PinOrigin("hf:org/old@main", added="2020-01-01")
    for manifest in (moved, fresh, replace(old, upstream=origin)):
        written(tmp_path / "catalog", manifest)
    record_pinned(workspace.load(), fresh)
    record(workspace.load(), [Checked(moved, "moved", "b" * 40)])
    with Served(tmp_path, workspace) as server:
        status = get(server, "/v1/status")
        models = {model["name"]: model["upstream"] for model in get(server, "/v1/models")["models"]}
    assert (status["stale"], status["updates"]) == (["old"], ["moved"])
    assert [models[name]["state"] for name in ("moved", "fresh", "old")] == ["moved", "current", "due"]
    assert models["demo"] is None


def test_an_error_is_forgotten_once_the_model_is_present(tmp_path: Path) -> None:
    outcomes = iter(["failed", "completed"])

    def turn(order: Order, _cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        outcome = next(outcomes)
        error = ErrorInfo("unavailable", "", "") if outcome == "failed" else None
        yield RunFinished(outcome, 6 if error else 0, 0.0, (), error)  # type: ignore[arg-type]

    with Served(tmp_path, FakeEngine(turn)) as server:
        server.until_over(server.submit())
        assert set(get(server, "/v1/status")["models_error"]) == {"m"}
        server.until_over(server.submit())
        assert get(server, "/v1/status")["models_error"] == {}


def test_disk_use_counts_each_inode_once_and_blocks_not_lengths(tmp_path: Path) -> None:
    blobs, models, partial = (tmp_path / name for name in ("blobs", "models", "partial"))
    for directory in (blobs, models, partial):
        directory.mkdir()
    (blobs / "one").write_bytes(b"x" * 100_000)
    (models / "one").hardlink_to(blobs / "one")
    with (partial / "data").open("wb") as sparse:
        sparse.truncate(10_000_000)
    (tmp_path / "state.db").write_bytes(b"y" * 5000)
    (tmp_path / "link").symlink_to("/")
    use = disk_use(tmp_path)
    assert 100_000 <= use["blobs"] < 150_000
    assert use["partial"] < 1_000_000
    assert use["quarantine"] == 0
    assert use["blobs"] + 5000 <= use["used"] < use["blobs"] + 100_000
    assert disk_use(tmp_path / "none") == {"used": 0, "blobs": 0, "partial": 0, "quarantine": 0}


def test_disk_use_is_not_measured_too_often(tmp_path: Path) -> None:
    times = iter([0.0, 0.1, 0.5, 4.9, 5.2, 5.2])  # began and ended: the first one took 0.1 s
    use = DiskUse(lambda: next(times))
    assert use.measure(tmp_path)["used"] == 0
    (tmp_path / "file").write_bytes(b"x" * 5000)
    assert use.measure(tmp_path)["used"] == 0
    assert use.measure(tmp_path)["used"] == 0
    assert use.measure(tmp_path)["used"] >= 5000


# History


def test_runs_are_listed_newest_first_up_to_the_limit(with_history: Served) -> None:
    runs = get(with_history, "/v1/history")["runs"]
    assert [run["run"] for run in runs[:2]] == ["r59", "r58"]
    assert len(runs) == 50
    assert len(get(with_history, "/v1/history?limit=3")["runs"]) == 3
    assert len(get(with_history, "/v1/history?limit=9999")["runs"]) == 60
    assert runs[0]["started_at"].endswith("Z")
    assert runs[0]["finished_at"] is None


@pytest.mark.parametrize("limit", ["", "-1", "x", "1.5", "9" * 30])
def test_a_limit_is_a_number(served: Served, limit: str) -> None:
    assert served.ask("GET", f"/v1/history?limit={limit}").code == "bad_request"


def test_sources_are_listed_with_their_health(with_history: Served) -> None:
    sources = {each["host"]: each for each in get(with_history, "/v1/sources")["sources"]}
    assert sources["a.example"]["status"] == "healthy"
    assert (sources["a.example"]["success"], sources["a.example"]["samples"]) == (1.0, 2)
    assert sources["a.example"]["first_byte"] == 0.1
    assert sources["a.example"]["speed"] > 1_000_000
    assert (sources["b.example"]["success"], sources["b.example"]["stalls"]) == (0.0, 1)
    assert sources["b.example"]["speed"] is None
    assert sources["a.example"]["last_failure"] is None
    assert sources["b.example"]["last_failure"]["fault"] == "stall"
    assert datetime.fromisoformat(sources["b.example"]["last_failure"]["at"]) < NOW


# Other processes

NOTE = """
import os, sys
from pathlib import Path
from modelfetch.store import Store
lock = Store(Path(sys.argv[1])).lock_model(sys.argv[2])
assert lock.try_acquire()
lock.note(400, 1000)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_a_fetch_of_another_process_is_listed_with_its_progress(served: Served) -> None:
    cache = served.workspace.load().store.root
    assert get(served, "/v1/elsewhere") == {"runs": []}
    command = [sys.executable, "-c", NOTE, str(cache), "demo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        pid = other.stdout.readline().strip()
        (run,) = get(served, "/v1/elsewhere")["runs"]
        assert (run["model"], run["received"], run["size"]) == ("demo", 400, 1000)
        assert run["title"].startswith("Demo model")
        assert f"process {pid} on " in run["holder"]
        other.kill()
    assert get(served, "/v1/elsewhere") == {"runs": []}, "a process that is gone holds nothing"


def test_what_this_server_fetches_is_not_elsewhere(served: Served) -> None:
    with served.workspace.load().store.lock_model("demo") as lock:
        assert lock.try_acquire()
        assert get(served, "/v1/elsewhere") == {"runs": []}


# Metrics


@pytest.mark.parametrize("base", ["/api/metrics/downloads", "/gm/api/metrics/downloads"])
def test_the_four_paths_of_the_metrics(with_history: Served, base: str) -> None:
    records = get(with_history, base)["metrics"]
    assert [record["gateway" if "gateway" in record else "host"] for record in records] == [
        "a.example",
        "b.example",
    ]
    summary = get(with_history, f"{base}/summary")
    assert (summary["total"], summary["cache_hits"]) == (2, 0)
    assert summary["mirror"] == {"success": 1, "error": 1, "avg_latency": 1000}
    health = get(with_history, f"{base}/health")
    assert health["mirror"] == {"status": "degraded", "success_rate": 50.0, "avg_latency_ms": 1000}
    assert health["cache"] == {"hit_rate": 0.0}
    answer = with_history.ask("POST", f"{base}/reset")
    assert (answer.status, answer.document) == (200, {"ok": True, "message": "Metrics reset"})
    assert get(with_history, base) == {"metrics": []}
    assert get(with_history, "/v1/sources") == {"sources": []}


def test_prometheus_reports_everything_recorded(with_history: Served) -> None:
    answer = with_history.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert 'modelfetch_attempts{source="mirror",host="a.example",outcome="success"} 2' in lines
    assert 'modelfetch_jobs{status="running"} 0' in lines
    assert not [line for line in lines if not line.startswith(("# ", "modelfetch_"))]
