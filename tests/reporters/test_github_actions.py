"""GitHub Actions: a group that holds the lines, results behind it, and a summary that shows text as it is."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest

from modelfetch.engine.events import FileResult, RunStarted, SourceFailed
from modelfetch.reporters import choose
from modelfetch.reporters.github_actions import GroupedLines, JobSummary, _escaped
from tests.scripted import (
    MODEL,
    Timed,
    already_there,
    at_once,
    check,
    download,
    failed,
    planned,
    play,
    stamped,
)

GITHUB = {"CI": "true", "GITHUB_ACTIONS": "true"}


def grouped(timed: list[Timed]) -> list[str]:
    out = io.StringIO()
    play(timed, GroupedLines(out))
    return out.getvalue().splitlines()


def summary(timed: list[Timed], path: Path) -> str:
    play(timed, JobSummary(str(path)))
    return path.read_text("utf-8")


def test_lines_are_in_a_group_and_the_result_follows_it() -> None:
    lines = grouped(at_once(download()))
    assert lines[0] == f"::group::modelfetch: fetching {MODEL}"
    end = lines.index("::endgroup::")
    assert any(" done in " in line for line in lines[:end])
    assert f"{MODEL} is ready" in lines[end + 1]
    assert sum(line.startswith("::") for line in lines) == 2


def test_the_end_of_a_verification_and_of_a_failure_is_behind_the_group() -> None:
    begun, *rest = check()
    assert grouped(at_once([begun, planned(), *rest])) == [
        f"::group::modelfetch: verifying {MODEL}",
        f"{MODEL}  1846881b6b3a  checking 9 files, 295 MB",
        "::endgroup::",
        "9 files, 295 MB verified in 2.9s",
    ]
    broken = [*download()[:-2], failed()]
    assert grouped(at_once(broken))[-2:] == ["::endgroup::", ANY]


def test_a_run_under_two_seconds_has_its_result_and_no_group() -> None:
    events = download()
    assert grouped([(n / len(events), event) for n, event in enumerate(events)]) == [ANY]
    assert "already present" in grouped(at_once(already_there()))[0]


def test_the_lines_of_a_quick_failure_are_in_the_group() -> None:
    begun, plan, *_ = download()
    assert grouped(at_once([begun, plan, failed()]))[1:3] == [ANY, "::endgroup::"]


def test_a_group_is_closed_when_the_reporter_is() -> None:
    out = io.StringIO()
    reporter = GroupedLines(out)
    for record in list(stamped(at_once(download())))[:-2]:
        reporter.report(record)
    reporter.close()
    assert out.getvalue().splitlines()[-1] == "::endgroup::"


def test_text_of_others_is_no_command() -> None:
    bad = SourceFailed("", "::set-env name=A::b", "url", "h", "cut", "::endgroup::", "", 0, "", "")
    lines = grouped([(0.0, RunStarted("ensure", ("::error::x",))), (0.1, bad), (0.2, failed())])
    assert [line for line in lines if line.startswith("::")] == [
        "::group::modelfetch: fetching ::error::x",
        "::endgroup::",
    ]


def test_the_summary_has_a_row_for_each_model(tmp_path: Path) -> None:
    text = summary(at_once(download()), tmp_path / "summary")
    assert text.startswith("### Models: completed in ")
    assert f"\n| {MODEL} | " in text
    assert summary(at_once(already_there()), tmp_path / "other").count("\n|") == 3


def test_the_summary_names_bad_files_and_shows_text_as_it_is(tmp_path: Path) -> None:
    lost = FileResult("m", "a|b", "failed", "integrity", "url", 3)
    ended = replace(failed("integrity", "<b> wrong"), files=(lost,))
    text = summary(at_once([*download()[:-2], ended]), tmp_path / "summary")
    assert text.startswith("### Models: failed in ")
    assert "| model | file | failed |\n|---|---|---|\n| m | a\\|b | integrity |" in text
    assert "\\<b\\> wrong" in text
    assert _escaped("a|b `c` <img> [d](e) @f\n#") == r"a\|b \`c\` \<img\> \[d\](e) \@f \#"


def test_a_summary_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    play(at_once(download()), JobSummary(str(tmp_path / "missing" / "summary")))


@pytest.mark.parametrize(("json_", "quiet"), [(True, False), (False, True), (False, False)])
def test_the_summary_is_written_with_every_form_of_output(tmp_path: Path, json_: bool, quiet: bool) -> None:
    path = tmp_path / "summary"
    out, err = io.StringIO(), io.StringIO()
    environ = {**GITHUB, "GITHUB_STEP_SUMMARY": str(path)}
    for reporter in choose(json=json_, quiet=quiet, stdout=out, stderr=err, environ=environ):
        play(at_once(download()), reporter)
    assert path.read_text("utf-8").startswith("### Models")
    assert ("::group::" in err.getvalue()) == (not json_ and not quiet)
    assert all(json.loads(line) for line in out.getvalue().splitlines())


def test_without_github_there_is_neither(tmp_path: Path) -> None:
    err = io.StringIO()
    environ = {"CI": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    [reporter] = choose(json=False, quiet=False, stdout=io.StringIO(), stderr=err, environ=environ)
    play(at_once(download()), reporter)
    assert "::group::" not in err.getvalue()
    assert not (tmp_path / "summary").exists()
