"""Keys, words and numbers of the metrics, exactly."""

from __future__ import annotations

from datetime import UTC, datetime

from modelfetch.history.metrics import KINDS, RECORD_FIELDS, health, metrics_records, summary
from tests.history.material import attempt, failure, hit

GATEWAY = {"source": "ipfs", "host": "gate.example"}
EXHAUSTED = failure("all_layers_exhausted", source="", host="", file="lost.bin", message="no source was left")
ROWS = [
    hit(file="kept.bin"),
    attempt(**GATEWAY, seconds=1.0),
    attempt(source="ipfs", host="other.example", seconds=2.0),
    failure(**GATEWAY),
    attempt(source="huggingface", host="hf.example", seconds=0.4, resumed=500),
    attempt(source="mirror", outcome="cancelled"),
    failure("hash", file="lost.bin"),
    EXHAUSTED,
]


def test_a_record_of_a_success() -> None:
    began = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
    [record] = metrics_records([attempt(**GATEWAY, started_at=began, kind="worker", attempt=2, resumed=7)])
    assert record == {
        "timestamp": "2026-11-20T06:00:01.100Z",
        "modelType": "worker",
        "model": "m",
        "file": "a.bin",
        "layer": "ipfs",
        "gateway": "gate.example",
        "host": "gate.example",
        "attempt": 2,
        "status": "success",
        "latency_ms": 1100,
        "first_byte_ms": 100,
        "bytes_downloaded": 1_000_000,
        "bytes_total": 1_000_000,
        "bytes_resumed": 7,
        "run": "r1",
    }


def test_a_record_of_an_error_has_type_and_message() -> None:
    [record] = metrics_records([failure("busy", message="rate limited")])
    assert (record["status"], record["error_type"], record["error_message"]) == (
        "error",
        "busy",
        "rate limited",
    )
    assert "first_byte_ms" not in record
    assert "gateway" not in record, "only IPFS has gateways"


def test_records_of_a_hit_and_of_an_exhausted_file() -> None:
    kept, lost = metrics_records([hit(), EXHAUSTED])
    assert (kept["layer"], kept["status"], kept["bytes_downloaded"]) == ("cache", "hit", 0)
    assert lost["status"] == "all_layers_exhausted"
    assert not {"layer", "gateway", "host", "attempt", "error_type"} & lost.keys()
    assert lost["error_message"] == "no source was left"


def test_records_have_no_other_keys_and_keep_their_order() -> None:
    for record in metrics_records(ROWS):
        assert [key for key in RECORD_FIELDS if key in record] == list(record)


def test_the_summary_counts_and_takes_the_mean_of_the_successes() -> None:
    found = summary(ROWS)
    assert found["ipfs"] == {
        "success": 2,
        "error": 1,
        "avg_latency": 1500,
        "gateways": {
            "gate.example": {"success": 1, "error": 1, "avg_latency": 1000, "success_rate": 50.0},
            "other.example": {"success": 1, "error": 0, "avg_latency": 2000, "success_rate": 100.0},
        },
    }
    assert found["huggingface"] == {"success": 1, "error": 0, "avg_latency": 400}
    assert found["mirror"] == {"success": 0, "error": 1, "avg_latency": 0}
    assert {key: found[key] for key in ("total", "cache_hits", "cancelled", "all_layers_exhausted")} == {
        "total": 8,
        "cache_hits": 1,
        "cancelled": 1,
        "all_layers_exhausted": 1,
    }


def test_every_kind_of_source_has_its_entry() -> None:
    assert list(summary([])) == ["total", "cache_hits", "cancelled", "all_layers_exhausted", *KINDS]
    assert list(health([])) == [*KINDS, "cache"]
    assert health([])["ipfs"] == {"status": "unknown", "success_rate": 0.0, "avg_latency_ms": 0}
    assert health([])["cache"] == {"hit_rate": 0.0}


def test_health_needs_more_than_one_success() -> None:
    one_in_hundred = [attempt(), *[failure()] * 99]
    assert health(one_in_hundred)["mirror"] == {
        "status": "unhealthy",
        "success_rate": 1.0,
        "avg_latency_ms": 1100,
    }
    assert health([attempt()] * 2 + [failure()])["mirror"]["success_rate"] == 66.67
    assert health([attempt()] * 2 + [failure()])["mirror"]["status"] == "degraded"
    assert health([attempt()] * 9 + [failure()])["mirror"]["status"] == "healthy"


def test_rates_are_numbers_always() -> None:
    for rows in ([], ROWS):
        found = health(rows)
        assert all(isinstance(found[kind]["success_rate"], float) for kind in KINDS)
        assert isinstance(found["cache"]["hit_rate"], float)


def test_the_hit_rate_is_one_of_files_however_many_attempts_they_took() -> None:
    rows = [hit(file="kept.bin"), *[failure(file="hard.bin")] * 8, attempt(file="hard.bin")]
    assert health(rows)["cache"]["hit_rate"] == 50.0
    again = [hit(file="kept.bin", run="r2")]
    assert health(rows + again)["cache"]["hit_rate"] == 66.67
