"""What came out, as tables to read and as a document to keep. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

from tests.bench.ablation import FAST_PATHS
from tests.bench.figures import Figure, Goal, Sample, Samples, disturbed, ratio, ratio_by_round, typical
from tests.bench.scene import Contender
from tests.bench.works import Work

HEAD = ("", "checks", "wall ms", "CPU ms", "peak MB", "ours / it", "by round", "disturbed")
HEAD_WITHOUT = (
    "without",
    "what it is",
    "wall ms",
    "CPU ms",
    "peak MB",
    "it / full",
    "by round",
    "CPU",
    "disturbed",
)
WIDTH = 118
_LEFT = 2  # columns of words; the others are of numbers


@dataclass(frozen=True, slots=True)
class Outcome:
    """A work that was done.

    Attributes:
        work: What it was.
        samples: Those of each contender that could run.
        cpus: Processors of the machine.
        load: Its load average over the last minute, at the end of the work.
    """

    work: Work
    samples: Samples
    cpus: int
    load: float

    @property
    def ours(self) -> Sequence[Sample]:
        """Samples of our first row."""
        return self.samples.get(self.work.contenders[0].name, ())

    def told(self, *, without: bool) -> list[tuple[Contender, Sequence[Sample]]]:
        """The rows that were measured: those without a fast path, or the others."""
        samples = [(each, self.samples.get(each.name, ())) for each in self.work.contenders]
        return [(each, own) for each, own in samples if own and bool(each.without) is without]


def markdown(outcome: Outcome) -> str:
    """Both tables of a work, where there is anything to tell in them."""
    return "\n".join(part for part in (beside_peers(outcome), beside_itself(outcome)) if part)


def beside_peers(outcome: Outcome) -> str:
    """A heading, a table, and a line for each goal; nothing where only fast paths were the matter."""
    work, told = outcome.work, outcome.told(without=False)
    if not told or (outcome.told(without=True) and not any(each.is_peer for each, _ in told)):
        return ""
    goals = [*_grouped(line for goal in work.goals if (line := verdict(goal, outcome.samples)))]
    rows = [HEAD, *(_row(outcome, each, own) for each, own in told)]
    return _section(work, [table(rows), *([""] if goals else []), *goals])


def _grouped(verdicts: Iterable[str]) -> Iterator[str]:
    """The goals that were reached, and those that were missed, each in one item of a list."""
    found: dict[str, list[str]] = {"reached": [], "missed": []}
    for line in verdicts:
        told, _, word = line.rpartition(": ")
        found[word].append(told)
    for word, goals in found.items():
        if goals:
            yield fill(f"- {word}: {'; '.join(goals)}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def beside_itself(outcome: Outcome) -> str:
    """A heading, and a table of what each fast path is worth; nothing where none was left out."""
    told = outcome.told(without=True)
    if not told or not outcome.ours:
        return ""
    first = ("nothing", "", *_costs(outcome.ours), "", "", "", _disturbed(outcome, outcome.ours))
    return _section(
        outcome.work,
        [table([HEAD_WITHOUT, first, *(_row_without(outcome, each, own) for each, own in told)])],
    )


def of_fast_paths(outcomes: Sequence[Outcome]) -> str:
    """One table of what each fast path is worth in each work; nothing where none was left out."""
    ratios = {
        (each.without, outcome.work.name): f"{ratio(own, outcome.ours):.2f}, {_cpu_ratio(own, outcome.ours)}"
        for outcome in outcomes
        for each, own in outcome.told(without=True)
        if outcome.ours
    }
    works = [*dict.fromkeys(work for _, work in ratios)]
    names = [name for name in FAST_PATHS if any(name == found for found, _ in ratios)]
    rows = [(FAST_PATHS[name].words, *(ratios.get((name, work), "") for work in works)) for name in names]
    return table([("without", *works), *rows]) if rows else ""


def _cpu_ratio(own: Sequence[Sample], ours: Sequence[Sample]) -> str:
    return f"{ratio(own, ours, 'cpu'):.2f}"


def _section(work: Work, lines: Sequence[str]) -> str:
    return "\n".join([f"### {work.name}: {work.title}", "", *lines, ""])


def _row(outcome: Outcome, contender: Contender, own: Sequence[Sample]) -> tuple[str, ...]:
    ratios = _ratios(outcome.ours, own)
    return (contender.name, contender.checks, *_costs(own), *ratios, _disturbed(outcome, own))


def _row_without(outcome: Outcome, contender: Contender, own: Sequence[Sample]) -> tuple[str, ...]:
    ratios = (*_ratios(own, outcome.ours), _cpu_ratio(own, outcome.ours))
    words = FAST_PATHS[contender.without].words
    return (contender.without, words, *_costs(own), *ratios, _disturbed(outcome, own))


def _disturbed(outcome: Outcome, samples: Sequence[Sample]) -> str:
    shaken = disturbed(samples, outcome.cpus)
    return f"{shaken} of {len(samples)}" if shaken else ""


def _costs(samples: Sequence[Sample]) -> Iterator[str]:
    wall = typical(samples, "wall") * 1000
    yield f"{wall:.1f}" if wall < 100 else f"{wall:.0f}"
    yield f"{typical(samples, 'cpu') * 1000:.0f}"
    yield f"{typical(samples, 'memory') / 1e6:.0f}"


def _ratios(ours: Sequence[Sample], theirs: Sequence[Sample]) -> tuple[str, str]:
    if not ours or ours is theirs:
        return "", ""
    return f"{ratio(ours, theirs):.2f}", f"{ratio_by_round(ours, theirs):.2f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of which is the head, as a Markdown table of even columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = ["-" * width if column < _LEFT else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join(_line(row, widths) for row in (rows[0], rule, *rows[1:]))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column < _LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return f"| {' | '.join(cells)} |"


_FIGURES: dict[Figure, str] = {"wall": "", "cpu": ", CPU time", "memory": ", peak memory"}


def verdict(goal: Goal, samples: Samples) -> str:
    """A goal and how near it is; empty if it was not measured."""
    reached = goal.reached(samples)
    if reached is None:
        return ""
    word = "reached" if reached <= goal.limit else "missed"
    words = f" ({goal.words})" if goal.words else ""
    if goal.peer:
        what = f"{goal.ours} / {goal.peer}{_FIGURES[goal.figure]}"
        return f"{what}: {reached:.2f}, goal {goal.limit:.2f}{words}: {word}"
    share = f", {100 * goal.best / reached:.0f} % of the best possible" if goal.best else ""
    minus = f" minus {goal.minus}" if goal.minus else ""
    what = f"{goal.ours}{minus}{_FIGURES[goal.figure]}: {_absolute(reached, goal.figure)}{share}"
    return f"{what}, absolute goal {_absolute(goal.limit, goal.figure)}{words}: {word}"


def _absolute(value: float, figure: Figure) -> str:
    return f"{value / 1e6:.0f} MB" if figure == "memory" else f"{value * 1000:.0f} ms"


def document(
    outcomes: Sequence[Outcome], machine: Mapping[str, object], versions: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that was measured, for a program."""
    return {
        "format": 1,
        "machine": {**machine},
        "versions": {**versions},
        "works": [_work(each) for each in outcomes],
    }


def _work(outcome: Outcome) -> dict[str, Any]:
    work, samples = outcome.work, outcome.samples
    return {
        "name": work.name,
        "title": work.title,
        "load": outcome.load,
        "contenders": [
            _contender(each.name, each.checks, samples[each.name], outcome.cpus)
            for each in work.contenders
            if samples.get(each.name)
        ],
        "ratios": _compared(work.contenders[0].name, samples),
        "goals": [{**asdict(goal), "reached": goal.reached(samples)} for goal in work.goals],
    }


def _contender(name: str, checks: str, samples: Sequence[Sample], cpus: int) -> dict[str, Any]:
    runs = [{**asdict(sample), "disturbed": sample.is_disturbed(cpus)} for sample in samples]
    medians = {figure: typical(samples, figure) for figure in _FIGURES}
    return {"name": name, "checks": checks, "median": medians, "runs": runs}


def _compared(ours: str, samples: Samples) -> dict[str, Any]:
    """Our first row beside each other one."""
    own = samples.get(ours)
    if not own:
        return {}
    return {
        name: {
            figure: {
                "of_medians": ratio(own, theirs, figure),
                "by_round": ratio_by_round(own, theirs, figure),
            }
            for figure in _FIGURES
        }
        for name, theirs in samples.items()
        if name != ours and theirs
    }
