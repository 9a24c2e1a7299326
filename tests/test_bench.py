"""The arithmetic of the benchmarks: medians, ratios, what counts as disturbed, and how it is told."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.bench import page, without
from tests.bench.__main__ import main
from tests.bench.ablation import FAST_PATHS, ablated
from tests.bench.figures import Goal, Sample, disturbed, least_disturbed, ratio, ratio_by_round, typical
from tests.bench.report import HEAD, Outcome, beside_itself, document, markdown, table, verdict
from tests.bench.works import WORKS, Work, floor


def walls(*seconds: float) -> list[Sample]:
    return [Sample(each, cpu=each / 2, memory=10_000_000) for each in seconds]


OURS, THEIRS = walls(1.0, 2.0, 9.0), walls(2.0, 5.0, 6.0)


def test_the_typical_run_is_the_median_of_each_figure() -> None:
    assert typical(OURS, "wall") == 2.0
    assert typical(OURS, "cpu") == 1.0
    assert typical(OURS, "memory") == 10_000_000


def test_the_ratio_of_medians_and_the_median_of_the_ratios_of_the_rounds_differ() -> None:
    assert ratio(OURS, THEIRS) == 2.0 / 5.0
    assert ratio_by_round(OURS, THEIRS) == 1.0 / 2.0


def test_ratios_by_round_need_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio_by_round(OURS, THEIRS[:2])


@pytest.mark.parametrize(
    ("wall", "foreign", "expected"),
    [
        (1.0, 0.10, False),  # 5 % of two processors
        (1.0, 0.11, True),
        (0.01, 0.03, False),  # what the kernel cannot tell apart from nothing
        (0.01, 0.04, True),
    ],
)
def test_a_run_is_disturbed_when_others_had_more_than_their_share(
    wall: float, foreign: float, expected: bool
) -> None:
    assert Sample(wall, 0.0, 0, foreign).is_disturbed(cpus=2) is expected


def test_of_several_tries_the_one_with_the_smallest_share_of_others_counts() -> None:
    tries = [Sample(1.0, 0, 0, 0.5), Sample(2.0, 0, 0, 0.6), Sample(0.5, 0, 0, 0.4)]
    assert least_disturbed(tries) is tries[1]
    assert disturbed(tries, cpus=2) == 3


def test_a_table_has_even_columns_with_numbers_to_the_right() -> None:
    assert table([("", "checks", "ms"), ("curl", "size", "7"), ("us", "SHA-256", "1234")]) == (
        "|      | checks  |   ms |\n"
        "| ---- | ------- | ---: |\n"
        "| curl | size    |    7 |\n"
        "| us   | SHA-256 | 1234 |"
    )


def test_a_verdict_names_what_is_compared_and_whether_it_suffices() -> None:
    samples = {"ours": OURS, "theirs": THEIRS}
    assert verdict(Goal("ours", 0.5, "theirs"), samples) == "ours / theirs: 0.40, goal 0.50: reached"
    assert verdict(Goal("ours", 0.3, "theirs", "cpu"), samples).endswith("CPU time: 0.40, goal 0.30: missed")
    assert verdict(Goal("ours", 1.0), samples) == "ours: 2000 ms, absolute goal 1000 ms: missed"


def test_a_verdict_says_what_a_number_stands_for() -> None:
    samples = {"ours": OURS, "theirs": THEIRS}
    assert verdict(Goal("ours", 2.5, words="of old", best=1.5), samples) == (
        "ours: 2000 ms, 75 % of the best possible, absolute goal 2500 ms (of old): reached"
    )
    assert verdict(Goal("ours", 64e6, figure="memory"), samples).endswith(
        ": 10 MB, absolute goal 64 MB: reached"
    )
    assert verdict(Goal("ours", 0.5, "theirs", words="or so"), samples).endswith("goal 0.50 (or so): reached")


def test_the_goals_for_the_start_are_beside_an_interpreter() -> None:
    start = next(work for work in WORKS if work.name == "start")
    goals = [(goal.ours, goal.peer, round(goal.limit, 2)) for goal in start.goals]
    assert goals == [
        ("modelfetch ensure", "python -c import httpx", 1.25),
        ("modelfetch --help", "", 0.06),
        ("modelfetch --help", "python -c pass", 6.32),
    ]


def test_a_goal_may_be_about_a_difference() -> None:
    samples = {"few": [Sample(0.150, 0.1, 10)], "one": [Sample(0.142, 0.1, 10)]}
    goal = Goal("few", 0.010, minus="one")
    assert verdict(goal, samples) == "few minus one: 8 ms, absolute goal 10 ms: reached"
    assert goal.reached({"few": samples["few"]}) is None


def test_there_is_no_verdict_on_what_did_not_run() -> None:
    assert verdict(Goal("ours", 1.0, "theirs"), {"ours": OURS}) == ""
    assert verdict(Goal("ours", 1.0), {}) == ""


def outcome(work: Work) -> Outcome:
    """Every contender of a work took the same time, the last one while others were busy."""
    samples = {each.name: walls(0.25, 0.25) for each in work.contenders}
    samples[work.contenders[-1].name] = [Sample(0.5, 0.1, 1, foreign=0.4)] * 2
    return Outcome(work, samples, cpus=2, load=0.5)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_every_work_is_told_as_a_table_with_its_goals(work: Work) -> None:
    lines = markdown(outcome(work)).splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert lines[0] == f"### {work.name}: {work.title}"
    assert [row.split("|")[1].strip() for row in rows[2:]] == [each.name for each in work.contenders]
    assert [cell.strip() for cell in rows[0].split("|")[1:-1]] == [*HEAD]
    assert rows[-1].endswith("  0.50 |     0.50 |    2 of 2 |")
    assert {line.partition(":")[0] for line in lines if line.startswith("- ")} <= {"- reached", "- missed"}
    assert " ".join(lines).count(" goal ") == len(work.goals)


def test_the_names_of_the_contenders_of_a_work_are_different_and_include_those_of_its_goals() -> None:
    for work in WORKS:
        names = [each.name for each in work.contenders]
        assert len({*names}) == len(names)
        assert {*names} >= {name for goal in work.goals for name in (goal.ours, goal.peer) if name}


def test_the_document_has_every_run_and_every_comparison() -> None:
    [work] = document([outcome(WORKS[0])], {"cpus": 2}, {"curl": "8"})["works"]
    assert [each["name"] for each in work["contenders"]] == [each.name for each in WORKS[0].contenders]
    assert [run["disturbed"] for run in work["contenders"][-1]["runs"]] == [True, True]
    assert work["ratios"]["pooch"]["wall"] == {"of_medians": 0.5, "by_round": 0.5}
    assert json.loads(json.dumps(work)) == work


def test_the_floor_of_the_paced_links_is_their_rate_the_delay_and_the_start() -> None:
    assert floor(32 * (20 << 20)) == pytest.approx(1 + 0.05 + 0.065)


# Fast paths left out

WARM = ablated(next(work for work in WORKS if work.name == "warm"), ["warm", "batch"])


def test_only_fast_paths_that_matter_for_a_work_are_left_out_of_it() -> None:
    assert [each.without for each in WARM.contenders if each.without] == ["warm"]
    assert {name for path in FAST_PATHS.values() for name in path.works} <= {work.name for work in WORKS}


def test_a_fast_path_is_worth_what_the_work_takes_longer_without_it() -> None:
    samples = {"modelfetch": walls(0.2, 0.2), "modelfetch, without warm": walls(0.5, 0.7)}
    rows = [line.split("|")[1:-1] for line in beside_itself(Outcome(WARM, samples, 2, 0)).splitlines()[4:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["nothing", "", "200", "100", "10", "", "", "", ""],
        ["warm", FAST_PATHS["warm"].words, "600", "300", "10", "3.00", "3.00", "3.00", ""],
    ]


def test_rows_without_a_fast_path_are_not_among_the_peers() -> None:
    whole = outcome(WARM)
    first, second = markdown(whole).split("### ")[1:]
    assert "without warm" not in first
    assert f"| warm    | {FAST_PATHS['warm'].words} |" in second
    ours_alone = {name: own for name, own in whole.samples.items() if "hf" not in name}
    assert markdown(replace(whole, samples=ours_alone)) == f"### {second}"


def test_every_fast_path_can_be_left_out_in_one_way() -> None:
    assert {*without.CHANGES} == {name for name, path in FAST_PATHS.items() if not path.env}


def changed(name: str) -> Any:
    """What stands under the name that a change is about, made in a copy of its module."""
    module, attribute, _ = without.CHANGES[name]
    copy = ModuleType(module)
    vars(copy).update(vars(importlib.import_module(module)))
    without.apply(without.CHANGES[name], copy)
    assert vars(copy)[attribute] is not getattr(importlib.import_module(module), attribute)
    return vars(copy)[attribute]


@pytest.mark.parametrize("name", without.CHANGES)
def test_every_change_is_about_something_that_is_there(name: str) -> None:
    assert changed(name) is not None


def test_changes_do_what_they_are_called() -> None:
    patience = SimpleNamespace(connect_timeout=1.0, stall_timeout=2.0, min_speed=3.0, limit_rate=None)
    assert changed("socket")(patience).direct_from == float("inf")
    assert changed("hashing-threads") == 0
    assert changed("warm")(["ensure", "whisper"]) is None
    assert changed("typer")(["ensure", "whisper"]) is None
    assert changed("direct")("http://host/path") is None


def test_the_changes_are_made_as_modules_are_loaded_however_many_there_are_of_one() -> None:
    code = (
        "import sys; from tests.bench import without as w;"
        "sys.meta_path.insert(0, w.Finder([w.CHANGES['quick-exit'], w.CHANGES['typer']]));"
        "from modelfetch.cli import entry as e;"
        "print(e._exit_now is sys.exit, e._run_plain(['ensure', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True None\n"


# The page


def test_a_document_is_read_as_it_was_written() -> None:
    [again] = page.outcomes(document([outcome(WARM)], {"cpus": 2}, {}))
    assert again.samples == outcome(WARM).samples
    assert markdown(again) == markdown(outcome(WARM))


def test_of_several_documents_the_last_table_of_each_work_counts_in_the_order_of_the_works() -> None:
    small, warm = (next(work for work in WORKS if work.name == name) for name in ("small", "warm"))
    first = document([outcome(small), outcome(warm)], {"cpus": 2, "load": [0.5]}, {"curl": "8"})
    later = replace(outcome(small), samples={"modelfetch": walls(7.0)})
    second = document([later], {"cpus": 2}, {"hf": "1"})
    assert page.parts([first, second]) == {
        "machine": "cpus: 2; load: 0.5; curl: 8; hf: 1\n",
        "table": "\n".join([markdown(outcome(warm)), markdown(later)]),
    }


def test_a_page_is_filled_between_its_marks_and_as_often_as_one_likes() -> None:
    empty = "# Title\n<!-- table: begin -->\n<!-- table: end -->\nmore\n"
    once = page.filled(empty, {"table": "| a |\n"})
    assert once == "# Title\n<!-- table: begin -->\n\n| a |\n\n<!-- table: end -->\nmore\n"
    assert page.filled(once, {"table": "| a |\n"}) == once
    assert page.filled(once, {}) == once
    with pytest.raises(ValueError, match="no <!-- machine: begin -->"):
        page.filled(once, {"machine": "x"})


def test_peers_and_fast_paths_that_do_not_exist_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--peers", "crul"], ["--without", "everything"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert "not 'crul'" in capsys.readouterr().err
