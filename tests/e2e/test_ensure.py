"""``ensure``: cold, warm, and with each of its options."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.command import Command, InProcess, Result
from tests.origin import Origin, Request, ServedModel, faults, model, whisper_like


@dataclass(frozen=True)
class Cold:
    """A first ensure that was run."""

    cli: Command
    origin: Origin
    model: ServedModel
    result: Result


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cold]:
    cli = Command(tmp_path_factory.mktemp("cold"))
    with Origin() as origin:
        origin.redirect_large(at=50_000)
        origin.redirect_small()
        served = cli.serve(whisper_like(origin, shrink=200, catalog=cli.catalog))
        yield Cold(cli, origin, served, cli("ensure", served.name))


@pytest.fixture
def cli(inside: InProcess) -> InProcess:
    return inside


def test_cold_ensure_prints_the_directory_and_nothing_else(cold: Cold) -> None:
    assert cold.result.code == 0, cold.result.err
    assert cold.result.out == f"{cold.cli.directory(cold.model)}\n"


def test_cold_ensure_fetches_each_byte_once_and_gives_plain_files(cold: Cold) -> None:
    directory = cold.cli.directory(cold.model)
    assert cold.cli.has(cold.model)
    assert not any(path.is_symlink() for path in directory.rglob("*"))
    sent = sum(request.sent for request in cold.origin.requests if request.status in (200, 206))
    assert sent == cold.model.size


def test_cold_ensure_leaves_no_temporary_file(cold: Cold) -> None:
    assert cold.cli.files("partial") == []
    assert cold.cli.files("quarantine") == []
    known = {content.sha256 for content in cold.model.contents.values()}
    assert {path.name for path in cold.cli.files("blobs")} == known


def test_cold_ensure_tells_what_is_ready_and_from_where(cold: Cold) -> None:
    assert cold.result.stderr_lines("whisper-like is ready", "from huggingface 9 files")


def test_warm_ensure_makes_no_request(cold: Cold) -> None:
    before = len(cold.origin.requests)
    result = cold.cli("ensure", cold.model.name)
    assert (result.code, result.out) == (0, cold.result.out)
    assert result.stderr_lines("already present")
    assert len(cold.origin.requests) == before


def test_without_a_name_the_models_of_the_project_are_ensured(cli: InProcess, origin: Origin) -> None:
    catalog = cli.work / "catalog"
    served = [
        cli.serve(model(origin, {"a.bin": 9}, name=name, catalog=catalog)) for name in ("zeta", "alpha")
    ]
    (cli.work / "modelfetch.toml").write_text('models = ["zeta", "alpha"]\ncatalog = ["catalog"]\n')
    result = cli("ensure")
    assert result.code == 0, result.err
    assert result.lines == [str(cli.directory(each)) for each in served], "in the order asked"


@pytest.mark.slow
def test_files_limit_rate_only_and_to(cli: InProcess, origin: Origin, tmp_path: Path) -> None:
    """A file at a time, no faster than told, from one kind of source, and into a directory too."""
    with Origin() as mirror:
        files = {"a/one.bin": 250_000, "two.bin": 250_000, "three.bin": 1}
        served = cli.serve(model(origin, files, mirrors=[mirror], catalog=cli.catalog))
        to = tmp_path / "also here"
        sent: list[int] = []

        def note(_: Request) -> bool:
            sent.append(origin.bytes_sent)
            return False

        origin.fault("*", faults.stall(), when=note)
        result = cli(
            *("ensure", "m", "--json", "--files", "1", "--limit-rate", "500k"),
            *("--only", "huggingface", "--to", to),
        )
        assert result.code == 0, result.err
        assert mirror.requests == []
    assert [(to / path).read_bytes() for path in files] == [each.data for each in served.contents.values()]
    assert cli.has(served)
    sizes = [request.sent for request in origin.requests]
    assert sent == [sum(sizes[:number]) for number in range(len(sizes))], "before each request"
    assert result.records[-1]["seconds"] >= 500_001 / 500_000 - 0.3


@pytest.mark.slow
def test_to_copies_a_model_that_is_here_and_leaves_other_files_alone(cold: Cold, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = cold.cli("ensure", cold.model.name, "--offline", "--to", tmp_path)
    assert result.code == 0, result.err
    assert (tmp_path / "mine.txt").read_text() == "mine"
    for path, content in cold.model.contents.items():
        assert (tmp_path / path).read_bytes() == content.data


def test_prefer_asks_that_kind_first(cli: InProcess, origin: Origin) -> None:
    with Origin() as mirror:
        cli.serve(model(origin, {"a.bin": 1000}, mirrors=[mirror], catalog=cli.catalog))
        assert cli("ensure", "m", "--prefer", "huggingface").code == 0
        assert (len(mirror.requests), len(origin.requests)) == (0, 1)


def test_force_fetches_everything_again(cli: InProcess, origin: Origin) -> None:
    served = cli.serve(model(origin, {"a.bin": 100_000, "b.bin": 5}, catalog=cli.catalog))
    cli.prepare("m")
    assert cli("ensure", "m", "--force").code == 0
    assert origin.bytes_sent == 2 * served.size
    assert cli.has(served)


@pytest.mark.slow
@pytest.mark.usefixtures("keeps_all")
def test_timeout_ends_the_run_and_keeps_what_came(cli: InProcess) -> None:
    with Origin() as origin:
        served = cli.serve(model(origin, {"a.bin": 8_000_000}, catalog=cli.catalog))
        origin.fault("*", faults.stall(4_000_000))
        result = cli("ensure", "m", "--timeout", "1.5", "--json")
        last = result.records[-1]
        assert (result.code, last["outcome"], last["exit_code"]) == (10, "failed", 10)
        assert "time limit" in last["error"]["message"]
        assert "--timeout" in last["error"]["hint"]
        # Nothing, where the machine is so busy that the time was over before a byte came.
        had = max(
            (record["received"] for record in result.records if record["event"] == "progress"), default=0
        )
        origin.heal()
        origin.forget()
        cli.prepare("m")
        assert origin.bytes_sent <= served.size - had
        assert cli.has(served)


def test_an_interrupted_file_goes_on_at_another_source(cli: InProcess, origin: Origin) -> None:
    """A mirror that hangs up for good in the middle: the next source sends the second half only."""
    with Origin() as mirror:
        mirror.fault("*", faults.cut(2_000_000), times=1)
        mirror.fault("*", faults.status(404))
        served = cli.serve(model(origin, {"a.bin": 4_000_000}, mirrors=[mirror], catalog=cli.catalog))
        result = cli("ensure", "m")
        assert result.code == 0, result.err
        assert (mirror.asked("a.bin")[0].sent, origin.bytes_sent) == (2_000_000, 2_000_000)
        assert cli.has(served)


@pytest.mark.quick(1)
@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_cache_that_everybody_can_write_to_is_told_of_once(
    cli: InProcess, origin: Origin, options: list[str]
) -> None:
    served = cli.serve(model(origin, {"a.bin": 100, "b.bin": 100}, catalog=cli.catalog))
    cli.cache.mkdir()
    cli.cache.chmod(0o777)
    for _ in range(2):  # the second time everything is there
        result = cli("ensure", served.name, *options)
        assert result.code == 0
        assert len(result.stderr_lines("warning: ", str(cli.cache), "writable by every user")) == 1
        assert not options or result.records[-1]["event"] == "run_finished"
    cli.cache.chmod(0o755)
    assert not cli("ensure", served.name, *options).stderr_lines("warning")


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
def test_what_is_left_alone_in_the_cache_is_told(cli: InProcess, origin: Origin, tmp_path: Path) -> None:
    served = cli.serve(model(origin, {"a.bin": 100}, catalog=cli.catalog))
    link = cli.cache / "partial" / f".mf-tmp-{'0' * 12}-1-{'0' * 8}"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path)
    result = cli("ensure", served.name)
    assert result.code == 0
    assert len(result.stderr_lines("note: ", str(link), "left alone")) == 1
    assert link.is_symlink()
