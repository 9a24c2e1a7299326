"""A schedule played from its first run to the healing of everything, and judged."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.campaign.schedules import oracles
from tests.campaign.schedules.oracles import Violation, Watcher
from tests.campaign.schedules.running import Outcome, Process
from tests.campaign.schedules.schedule import Plan, Schedule, schedule_of
from tests.campaign.schedules.stage import Stage


@dataclass
class Verdict:
    """What came of a schedule."""

    seed: int
    violations: list[Violation] = field(default_factory=list)
    runs: int = 0
    kills: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    told: str = ""
    """The schedule in words, where there are violations."""


def play(seed: int, root: Path | None = None) -> Verdict:
    """Play the schedule of a seed in a new directory."""
    began, schedule = time.monotonic(), schedule_of(seed)
    verdict = Verdict(seed)
    try:
        with tempfile.TemporaryDirectory(prefix="net-", dir=root) as directory, Stage(schedule) as stage:
            _Playing(verdict, schedule, stage, Path(directory) / "cache").play()
    except Exception:  # a campaign that cannot go on is no green one
        verdict.violations.append(Violation("campaign", traceback.format_exc()))
    verdict.seconds = time.monotonic() - began
    verdict.told = str(schedule) if verdict.violations else ""
    return verdict


class _Playing:
    def __init__(self, verdict: Verdict, schedule: Schedule, stage: Stage, root: Path) -> None:
        self.verdict = verdict
        self._schedule = schedule
        self._stage = stage
        self._root = root
        root.mkdir()
        self._watcher = Watcher(root, schedule)
        shared = Counter((place.kind, stage.endpoint(place)) for place in schedule.places)
        self._clean, self._honest = (
            {
                (place.kind, stage.endpoint(place).removeprefix("http://"))
                for place in schedule.places
                if place.character in characters and shared[place.kind, stage.endpoint(place)] == 1
            }
            for characters in (("clean",), ("clean", "shaky"))
        )

    def play(self) -> None:
        before: Outcome | None = None
        unclaimed: dict[str, str] = {}
        for plan in self._schedule.plans:
            after = self._run(plan)
            self._add(oracles.of_delivery(self._schedule, after))
            unclaimed_before, unclaimed = unclaimed, oracles.unclaimed(self._root, self._schedule)
            self._add(oracles.of_claims(self._schedule, after, unclaimed, unclaimed_before))
            if before is not None:
                self._add(oracles.of_keeping(self._schedule, before, after))
            before = after
        if before is not None and before.end is not None and before.end.exit_code:
            self._add(oracles.of_leftovers(self._root, is_complete=False))
            self._heal()
        self._check_kept()
        self._add(Violation("campaign", error) for error in self._stage.errors())

    def _heal(self) -> None:
        """Once somebody serves it, everything is there."""
        self._stage.heal()
        outcome = self._run(Plan())
        if outcome.end is not None and outcome.end.exit_code:
            self._add([Violation("given up", f"though all is well again: {outcome.end.error}")])

    def _check_kept(self) -> None:
        """Everything is there, nothing is left over, and the next run fetches nothing."""
        missing = self._watcher.missing()
        if missing:
            self._add([Violation("not kept", f"missing: {missing[0]} and {len(missing) - 1} more")])
            return
        self._add(oracles.of_leftovers(self._root, is_complete=True))
        again = self._run(Plan())
        if [event for event in again.events if event.kind == "file_started"]:
            self._add([Violation("not kept", "the run after the last one fetched again")])

    def _run(self, plan: Plan) -> Outcome:
        number = self.verdict.runs
        others = [replace(plan, ending="finish", is_paired=True)] * plan.is_paired
        processes = [
            Process(self._root, self._stage, self._schedule, each, 10 * number + index)
            for index, each in enumerate([plan, *others])
        ]
        outcomes = [process.watch(self._watcher) for process in processes]
        self._watcher.again()
        for outcome in outcomes:
            self._judge(outcome)
        return outcomes[-1]

    def _judge(self, outcome: Outcome) -> None:
        verdict = self.verdict
        verdict.runs += 1
        verdict.kills += outcome.is_killed
        verdict.slowest = max(verdict.slowest, outcome.seconds)
        self._add(self._watcher.wrong)
        self._watcher.wrong = []
        self._add(oracles.of_a_process(outcome))
        self._add(oracles.of_blame(outcome, self._clean, self._honest))
        self._add(oracles.of_economy(self._schedule, outcome))

    def _add(self, violations: Iterable[Violation]) -> None:
        self.verdict.violations += violations
