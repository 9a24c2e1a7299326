"""What a person, a log and a program get to see."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.e2e.command import Command, InProcess
from tests.e2e.terminal import COLOR, ESC, HIDE, on_terminal
from tests.origin import Origin, ServedModel, faults, model, whisper_like


@pytest.fixture
def served(cli: Command, origin: Origin) -> Iterator[ServedModel]:
    """A model of nine files on a mirror that fails."""
    with Origin() as mirror:
        mirror.fault("*", faults.status(404))
        yield cli.serve(whisper_like(origin, shrink=200, mirrors=[mirror], catalog=cli.catalog))


@pytest.mark.slow
def test_a_narrow_terminal_gets_bars_that_fit_and_its_cursor_back(
    cli: Command, origin: Origin, served: ServedModel
) -> None:
    """The screen refuses a line that is too wide; without colors the bars are still told apart."""
    origin.pace = 20_000

    def has_bars(picture: str) -> bool:
        return all(re.search(f"{name}.*━.*%", picture) for name in (r"encoder_model\.onnx", "of 9 files"))

    def hurry(picture: str) -> None:
        if has_bars(picture):
            origin.pace = None

    shown = on_terminal(cli, "ensure", served.name, columns=60, watch=hurry, NO_COLOR="1")
    assert (shown.code, shown.out) == (0, f"{cli.directory(served)}\n"), shown.written
    assert HIDE in shown.written
    assert shown.screen.has_cursor
    assert shown.screen.lost == 0
    assert COLOR.search(shown.written) is None
    assert any(has_bars("\n".join(frame)) for frame in shown.frames), shown.frames
    stays = " ".join(" ".join(shown.screen.text).split())
    assert "━" not in stays
    assert "mirror 127.0.0.1" in stays
    assert "not found → huggingface" in stays
    assert "8 more files" in stays
    assert "whisper-like is ready" in stays


@pytest.mark.slow
def test_ci_gets_plain_lines_even_on_a_terminal(cli: Command, served: ServedModel) -> None:
    shown = on_terminal(cli, "ensure", served.name, columns=200, CI="1")
    assert shown.code == 0, shown.written
    assert ESC not in shown.written
    assert "whisper-like is ready" in shown.written


@pytest.mark.slow
def test_a_pipe_gets_plain_complete_lines(cli: Command, served: ServedModel) -> None:
    result = cli("ensure", served.name)
    assert result.code == 0, result.err
    assert ESC not in result.out + result.err
    assert "\r" not in result.err
    assert result.stderr_lines("whisper-like is ready", "huggingface 9 files")
    assert len(result.stderr_lines("fallback: mirror", "not found")) == 2, (
        "the first file, and a count of the others"
    )
    assert result.stderr_lines("more files", "fallback: mirror")


def test_json_is_one_numbered_stream_with_one_end(cli: Command, served: ServedModel) -> None:
    result = cli("ensure", served.name, "--json")
    assert (result.code, result.err) == (0, "")
    records = result.records
    assert [record["n"] for record in records] == list(range(len(records)))
    assert {record["v"] for record in records} == {1}
    assert len({record["run"] for record in records}) == 1
    assert all(earlier["at"] <= later["at"] for earlier, later in pairwise(records))
    kinds = [record["event"] for record in records]
    assert kinds[:2] == ["run_started", "planned"]
    assert kinds.count("run_finished") == 1
    assert kinds[-2:] == ["model_ready", "run_finished"]
    assert kinds.count("file_started") == kinds.count("file_verified") == kinds.count("file_committed") == 9
    assert records[-2]["path"] == str(cli.directory(served))
    assert (records[-1]["outcome"], records[-1]["exit_code"], records[-1]["error"]) == ("completed", 0, None)
    _check_progress([record for record in records if record["event"] == "progress"], served)


def _check_progress(records: list[dict[str, object]], served: ServedModel) -> None:
    assert records
    for record in records:
        assert isinstance(record["received"], int)
        assert 0 <= record["received"] <= served.contents[str(record["file"])].size
        assert {"source", "host", "attempt", "speed", "eta", "percent", "totals"} <= record.keys()


def test_quiet_says_nothing_but_the_result(inside: InProcess, origin: Origin) -> None:
    origin.fault("*", faults.status(500), times=1)
    served = inside.serve(model(origin, {"a.bin": 1000}, license="", catalog=inside.catalog))
    result = inside("ensure", "m", "--quiet")
    assert (result.code, result.out, result.err) == (0, f"{inside.directory(served)}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("ensure", "m", "--json"), ("list",)])
def test_a_reader_that_goes_away_is_no_crash(
    cli: Command, origin: Origin, arguments: tuple[str, ...]
) -> None:
    """``| head -1``: the end is quiet."""
    cli.serve(model(origin, {f"{n}.bin": 2000 for n in range(9)}, catalog=cli.catalog))
    with subprocess.Popen(
        cli.line(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=cli.environment,
        cwd=cli.work,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        stderr = process.stderr.read().decode()
    assert process.returncode in (0, 141), stderr
    assert stderr == ""


def test_what_a_server_or_a_manifest_says_cannot_steer_the_terminal(
    inside: InProcess, origin: Origin
) -> None:
    origin.fault("*", faults.reason("\x1b[2J\x9b31mOops"), times=1)
    origin.fault("*", faults.control_bytes_location())
    served = model(origin, {"a.bin": 1000}, catalog=inside.catalog)
    inside.serve(served)
    path = inside.catalog / "m.toml"
    path.write_text(path.read_text().replace("schema = 1", 'schema = 1\ntitle = "\\u202Eevil\\u0007"'))
    for arguments in (("ensure", "m"), ("show", "m")):
        result = inside(*arguments)
        written = (result.out + result.err).replace("\n", "")
        assert all(character.isprintable() for character in written), result
