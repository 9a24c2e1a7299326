"""What runs leave behind, and what it is good for: history, log, metrics, sources, and the next plan."""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import modelfetch
from modelfetch.history import FILE, History
from tests.e2e.command import Command, Result, assert_fails, bend
from tests.origin import Origin, ServedModel, faults, model, refusing_port
from tests.patience import HELD

pytestmark = pytest.mark.slow  # real processes, one after the other

FILES = {"a.bin": 400_000, "b.bin": 300_000, "c/d.bin": 10}


def host(port: int) -> str:
    return f"127.0.0.1:{port}"


@dataclass(frozen=True)
class Fared:
    """A model fetched past a lying mirror and a dead gateway, from a good origin."""

    cli: Command
    origin: Origin
    liar: Origin
    dead: int
    served: ServedModel
    result: Result

    @property
    def path(self) -> Path:
        return self.cli.cache / FILE


@pytest.fixture(scope="module")
def fared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fared]:
    cli = Command(tmp_path_factory.mktemp("fared"))
    # A gateway that has the file answers within two seconds, but not on any machine.
    bend(cli, f"from modelfetch.engine import candidates\ncandidates.FIRST_BYTE = {HELD}")
    with Origin() as origin, Origin() as liar, refusing_port() as dead:
        liar.fault("*", faults.flipped())
        mirrors = [liar, origin]
        served = cli.serve(model(origin, FILES, mirrors=mirrors, ipfs="directory", catalog=cli.catalog))
        cli.environment["MODELFETCH_IPFS_GATEWAYS"] = f"http://{host(dead)},{origin.endpoint}"
        # The second mirror is away for this run, so that the gateways have their turn.
        origin.fault("/mirror/*", faults.status(404))
        result = cli("ensure", "m", "--files", "1")
        origin.heal()
        origin.forget()
        yield Fared(cli, origin, liar, dead, served, result)


def fresh(fared: Fared, tmp_path: Path) -> Command:
    """A cache of its own with nothing in it but the same history."""
    cli = Command(tmp_path / "fresh")
    passed = ("HF_ENDPOINT", "MODELFETCH_CATALOG", "MODELFETCH_IPFS_GATEWAYS")
    cli.environment |= {name: fared.cli.environment[name] for name in passed}
    cli.cache.mkdir()
    (cli.cache / FILE).write_bytes(fared.path.read_bytes())
    return cli


def test_the_run_itself_is_as_ever(fared: Fared) -> None:
    assert fared.result.code == 0, fared.result.err
    assert fared.cli.has(fared.served)
    assert fared.result.stderr_lines("note: ") == []
    assert [path.name for path in fared.cli.cache.iterdir() if path.name.startswith(FILE)] == [FILE]


def test_the_history_is_a_table_for_people(fared: Fared) -> None:
    result = fared.cli("history")
    assert result.code == 0, result.err
    head, line = result.lines
    assert head.split() == [
        *("started", "run", "command", "models", "outcome", "fetched", "time", "speed", "failures")
    ]
    assert line.split()[3:6] == ["ensure", "m", "completed"]
    assert "\x1b" not in result.out


def test_the_history_is_json_for_programs(fared: Fared) -> None:
    [run] = fared.cli("history", "--json").document["runs"]
    assert (run["operation"], run["models"], run["outcome"], run["exit_code"]) == (
        "ensure",
        ["m"],
        "completed",
        0,
    )
    assert run["fetched"] == FILES["a.bin"] + fared.served.size, "wrong bytes came in, too"
    assert run["failures"] == 1 + 3 + 1, "the liar once, the second mirror for each file, the gateway once"
    assert run["started_at"].endswith("Z")
    assert run["speed"] == pytest.approx(run["fetched"] / run["seconds"], rel=0.01)
    assert fared.cli("history", "--json", "--since", "1h", "--limit", "1").document["runs"] == [run]
    assert fared.cli("history", "--json", "--since", "0s").document == {"runs": [], "limit": None, "note": ""}


def test_the_history_can_be_drawn(fared: Fared) -> None:
    [line] = fared.cli("history", "--plot").lines
    assert line.endswith("1.10 MB")
    assert "█" in line
    [plain] = fared.cli("history", "--plot", PYTHONIOENCODING="ascii").lines
    assert "#" in plain


def test_the_log_tells_the_last_run(fared: Fared) -> None:
    result = fared.cli("log")
    assert result.code == 0, result.err
    lines = [line[len("06:00:00  ") :] for line in result.lines]
    assert lines[:2] == ["🔍 Looking for model: m", "📥 Downloading model: m"]
    assert lines[-2:] == ["✅ Model ready: m (700 kB)", "✅ Download complete"]
    mirror, gateway = host(fared.liar.port), host(fared.origin.port)
    assert any(line.startswith(f"🔀 a.bin: mirror {mirror}: sent wrong bytes") for line in lines)
    assert f"📦 a.bin: done, from ipfs {gateway}" in lines
    assert any(line.startswith("📊 Progress: ") for line in lines)


def test_the_log_of_a_run_is_found_by_the_beginning_of_its_name(fared: Fared) -> None:
    [run] = fared.cli("history", "--json").document["runs"]
    document = fared.cli("log", run["run"][:5], "--json").document
    assert document["run"] == run["run"]
    assert document["events"][-1]["event"] == "run_finished"
    assert document["events"][-1]["human"] == "✅ Download complete"
    assert_fails(
        fared.cli("log", "nosuchrun"), 2, "no recorded run has the id 'nosuchrun'", "modelfetch history"
    )


def test_metrics_are_the_records_of_every_attempt(fared: Fared) -> None:
    records = fared.cli("metrics", "--json").document["metrics"]
    wrong = [record for record in records if record.get("error_type") == "hash"]
    assert {record["host"] for record in wrong} == {host(fared.liar.port)}
    assert [(record["status"], record["bytes_downloaded"]) for record in wrong] == [("error", 400_000)]
    dead = [record for record in records if record.get("gateway") == host(fared.dead)]
    assert {record["error_type"] for record in dead} == {"connect"}
    good = [record for record in records if record["status"] == "success"]
    assert {(record["layer"], record["file"], record["bytes_total"]) for record in good} == {
        ("ipfs", path, size) for path, size in FILES.items()
    }
    assert {record["model"] for record in records} == {"m"}


def test_metrics_are_csv_with_the_same_records(fared: Fared) -> None:
    records = fared.cli("metrics", "--json").document["metrics"]
    rows = list(csv.DictReader(io.StringIO(fared.cli("metrics", "--csv").out)))
    assert [{key: text for key, text in row.items() if text} for row in rows] == [
        {key: str(value) for key, value in record.items()} for record in records
    ]


def test_metrics_for_prometheus(fared: Fared) -> None:
    lines = fared.cli("metrics", "--prometheus").lines
    source = f'source="ipfs",host="{host(fared.origin.port)}"'
    assert f'modelfetch_attempts{{{source},outcome="success"}} 3' in lines
    assert 'modelfetch_runs{operation="ensure",outcome="completed"} 1' in lines


def test_the_summary_and_the_health_of_that_run(fared: Fared) -> None:
    summary = fared.cli("metrics", "summary", "--json").document
    assert (summary["mirror"]["success"], summary["mirror"]["error"]) == (0, 4)
    assert (summary["ipfs"]["success"], summary["ipfs"]["error"], summary["cache_hits"]) == (3, 1, 0)
    gateways = summary["ipfs"]["gateways"]
    assert gateways[host(fared.dead)]["success_rate"] == 0.0
    assert gateways[host(fared.origin.port)]["success_rate"] == 100.0
    health = fared.cli("metrics", "health", "--json").document
    assert (health["mirror"]["status"], health["mirror"]["success_rate"]) == ("unhealthy", 0.0)
    assert (health["ipfs"]["status"], health["ipfs"]["success_rate"]) == ("degraded", 75.0)
    assert health["huggingface"]["status"] == "unknown"
    assert health["cache"] == {"hit_rate": 0.0}


def test_summary_and_health_are_tables_too(fared: Fared) -> None:
    summary = fared.cli("metrics", "summary")
    assert [line.split()[:3] for line in summary.lines if line.startswith("mirror")] == [["mirror", "0", "4"]]
    health = fared.cli("metrics", "health")
    assert ["huggingface", "unknown", "-", "-"] in [line.split() for line in health.lines]
    assert [line.split()[:2] for line in health.lines if line.startswith("mirror")] == [
        ["mirror", "unhealthy"]
    ]
    records = fared.cli("metrics")
    assert len(records.lines) == 1 + len(fared.cli("metrics", "--json").document["metrics"])


def test_the_next_plan_has_another_order_and_says_why(fared: Fared, tmp_path: Path) -> None:
    cli = fresh(fared, tmp_path)
    plan = cli("plan", "m", "--json").document
    sources = [f"ipfs {host(port)}" for port in (fared.origin.port, fared.dead)]
    offered = plan["models"][0]["files"][0]["sources"]
    # The dead gateway could not be asked for this file while others answered, so it comes last for a day.
    assert [offered[2], offered[-1]] == sources
    known = {(each["source"], each["host"]): each for each in plan["sources"]}
    assert known["ipfs", host(fared.dead)]["status"] == "degraded"
    assert known["ipfs", host(fared.origin.port)]["success"] == 1.0
    planned = cli("plan", "m")
    assert planned.stderr_lines(f"ipfs {host(fared.origin.port)}", "healthy: 100 % of 3 tries, first byte")
    assert planned.stderr_lines(f"ipfs {host(fared.dead)}", "degraded: 0 % of 1 try")
    assert planned.stderr_lines("tried first: mirror")


def test_the_next_run_asks_in_that_order(fared: Fared, tmp_path: Path) -> None:
    cli = fresh(fared, tmp_path)
    result = cli("ensure", "m", "--only", "ipfs", "--json")
    assert result.code == 0, result.err
    assert {record["event"] for record in result.records} & {"source_failed", "retry_scheduled"} == set()


def test_sources_are_told_with_place_and_reason(fared: Fared) -> None:
    found = {
        (each["source"], each["host"]): each for each in fared.cli("sources", "--json").document["sources"]
    }
    good, dead = found["ipfs", host(fared.origin.port)], found["ipfs", host(fared.dead)]
    assert (good["place"], good["known_from"], good["status"]) == (1, "settings", "healthy")
    assert (dead["place"], dead["reason"]) == (2, "degraded: 0 % of 1 try")
    assert "probe" not in good
    table = fared.cli("sources")
    assert table.lines[0].split() == ["kind", "order", "host", "known", "from", "last", "used", "status"]
    assert any("degraded: 0 % of 1 try" in line for line in table.lines)


def test_sources_ask_nobody_unless_told_to(fared: Fared) -> None:
    fared.origin.forget()
    assert fared.cli("sources").code == 0
    assert fared.origin.requests == []
    probed = {
        (each["source"], each["host"]): each["probe"]
        for each in fared.cli("sources", "--probe", "--json").document["sources"]
        if each["probe"]
    }
    assert fared.origin.requests != []
    assert fared.origin.bytes_sent < 1000
    assert probed["ipfs", host(fared.origin.port)]["error"] == ""
    assert probed["ipfs", host(fared.dead)]["error"] == "connection refused"
    assert_fails(fared.cli("sources", "--probe", MODELFETCH_OFFLINE="1"), 4, "--probe needs the network")


def test_reset_forgets_attempts_when_it_is_meant(fared: Fared, tmp_path: Path) -> None:
    cli = fresh(fared, tmp_path)
    would = cli("metrics", "reset", "--dry-run", "--json").document
    assert cli("metrics", "reset", "--json").document == {**would, "dry_run": False}
    assert (would["ok"], would["message"], would["attempts"]) == (True, "Metrics reset", 8)
    assert cli("metrics", "--json").document == {"metrics": []}
    assert len(cli("history", "--json").document["runs"]) == 1
    assert cli("metrics", "reset").stderr_lines("deleted 0 attempts")


def test_a_bad_time_span_is_refused_with_an_example(cli: Command) -> None:
    assert_fails(cli("history", "--since", "soon"), 2, "'soon' is not a time span", "--since 7d")


@pytest.mark.parametrize("command", ["history", "history --plot", "log"])
def test_without_a_history_there_is_nothing_to_show_and_nothing_is_made(cli: Command, command: str) -> None:
    result = cli(*command.split())
    assert (result.code, result.out) == (0, "")
    assert result.stderr_lines("no runs are recorded yet")
    assert not cli.cache.exists()


# Warm, cold, sick


@pytest.fixture
def served(cli: Command, origin: Origin) -> ServedModel:
    return cli.serve(model(origin, {"a.bin": 100_000}, catalog=cli.catalog))


def test_a_warm_run_neither_writes_nor_makes_a_history(cli: Command, served: ServedModel) -> None:
    assert cli("ensure", "m").code == 0
    path = cli.cache / FILE
    before = path.stat()
    for arguments in (("ensure", "m"), ("ensure", "m", "--json"), ("verify", "m", "--quick")):
        assert cli(*arguments).code == 0
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    path.unlink()
    assert cli("ensure", "m", "--json").code == 0
    assert not path.exists()


def test_every_run_is_remembered_once(cli: Command, served: ServedModel) -> None:
    assert cli("ensure", "m").code == 0
    assert cli("verify", "m").code == 0
    (cli.directory(served) / "a.bin").unlink()
    assert cli("verify", "m").code == 5
    assert cli("verify", "m", "--repair", "--json").code == 0
    runs = cli("history", "--json").document["runs"][::-1]
    assert [(run["operation"], run["outcome"], run["exit_code"]) for run in runs] == [
        ("ensure", "completed", 0),
        ("verify", "completed", 0),
        ("verify", "failed", 5),
        ("verify", "completed", 0),
    ]
    assert cli("metrics", "summary", "--json").document["huggingface"]["success"] == 1


def test_python_remembers_its_runs_too(
    cli: Command, served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("MODELFETCH_", "HF_")):
            monkeypatch.delenv(name)
    for name, value in cli.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(cli.work)
    modelfetch.ensure("m")
    modelfetch.verify("m")
    list(modelfetch.stream("m", force=True))
    with History(cli.cache / FILE) as history:
        runs = history.runs()[::-1]
    assert [(run.operation, run.outcome) for run in runs] == [
        ("ensure", "completed"),
        ("verify", "completed"),
        ("ensure", "completed"),
    ]


def test_a_failed_and_an_interrupted_run_are_remembered(cli: Command) -> None:
    with Origin() as origin:
        cli.serve(model(origin, {"a.bin": 2_000_000}, catalog=cli.catalog))
        origin.fault("*", faults.status(404))
        assert cli("ensure", "m").code == 6
        origin.heal()
        origin.forget()
        origin.fault("*", faults.stall(0.5))
        with cli.start("ensure", "m", "--json") as running:
            running.until(lambda running: '"received":1000000' in running.out)
            assert running.interrupt().code == 130
    runs = cli("history", "--json").document["runs"][::-1]
    assert [(run["outcome"], run["exit_code"]) for run in runs] == [("failed", 6), ("cancelled", 130)]
    assert "not found" in runs[0]["error"]
    statuses = [record["status"] for record in cli("metrics", "--json").document["metrics"]]
    assert statuses == ["error", "all_layers_exhausted", "cancelled"]


def test_nothing_is_remembered_where_that_is_not_wanted(cli: Command, served: ServedModel) -> None:
    assert cli("ensure", "m", MODELFETCH_HISTORY_DAYS="0").code == 0
    assert not (cli.cache / FILE).exists()


@pytest.mark.parametrize("content", [b"damaged" * 3000, random.Random(1).randbytes(20_000)])
def test_beside_a_corrupt_history_everything_goes_on_and_it_is_said_once(
    cli: Command, served: ServedModel, content: bytes
) -> None:
    cli.cache.mkdir()
    (cli.cache / FILE).write_bytes(content)
    result = cli("ensure", "m")
    assert (result.code, result.lines) == (0, [str(cli.directory(served))])
    assert len(result.stderr_lines("note: the history was damaged and is now", "a new one was started")) == 1
    [kept] = cli.cache.glob(f"{FILE}.corrupt-*")
    assert kept.read_bytes() == content
    assert len(cli("history", "--json").document["runs"]) == 1
    again = cli("ensure", "m", "--force")
    assert again.stderr_lines("note: ") == []


def test_beside_a_history_that_is_no_file_json_and_quiet_stay_clean(
    cli: Command, served: ServedModel
) -> None:
    (cli.cache / FILE).mkdir(parents=True)
    result = cli("ensure", "m", "--json")
    assert result.code == 0
    assert all(json.loads(line)["v"] == 1 for line in result.lines)
    assert result.err == ""
    quiet = cli("ensure", "m", "--force", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    result = cli("ensure", "m", "--force")
    assert (
        len(result.stderr_lines("note: the history", "could not be written: it is not a regular file")) == 1
    )
    assert cli("history").stderr_lines("note: the history", "could not be read")
