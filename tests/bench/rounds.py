"""One work: every contender in every round, disturbed runs repeated."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench import listings
from tests.bench.figures import Sample, least_disturbed
from tests.bench.material import Material
from tests.bench.measure import Failed, await_quiet, measure
from tests.bench.scene import Command, Contender, Scene
from tests.bench.site import Site, address
from tests.bench.works import Work

TRIES = 4
"""Runs of one contender in one round at most; the least disturbed counts."""
MANY = 100
"""Files from which on a target is not deleted between runs: ext4 creates files far slower after that."""


@dataclass
class Bench:
    """Where everything happens.

    Attributes:
        directory: Ours alone.
        tools: Path of each program.
        site: The server.
        materials: What it serves, by name.
        patience: Seconds that a run may wait for a quiet machine.
    """

    directory: Path
    tools: dict[str, str]
    site: Site
    materials: dict[str, Material]
    patience: float
    _number: int = field(default=0)

    def run(self, work: Work, rounds: int) -> dict[str, list[Sample]]:
        """Measure every contender of a work as often as there are rounds."""
        for name in work.materials:
            self.materials[name].warm()
        kept: dict[str, Path] = {}
        contenders = [each for each in work.contenders if self._can(work, each, kept)]
        samples: dict[str, list[Sample]] = {each.name: [] for each in contenders}
        for number in range(rounds):
            for contender in _rotated(contenders, number):
                samples[contender.name].append(self._calm(work, contender, kept))
            _say(f"{work.name}: round {number + 1} of {rounds}")
        self._forget(kept.values())
        return samples

    def _can(self, work: Work, contender: Contender, kept: dict[str, Path]) -> bool:
        """Run a contender once without counting it, and see that the files are right."""
        missing = [name for name in contender.needs if name not in self.tools]
        if missing:
            _say(f"{work.name}: {contender.name} left out, not found: {', '.join(missing)}")
            return False
        try:
            if contender.prepare is not None:
                kept[contender.name] = self._new_target()
                scene = self._scene(work, contender, kept[contender.name])
                self._measure(contender, contender.prepare(scene), scene)
            self._once(work, contender, kept, digests=True)
        except Failed as failure:
            if contender.is_modelfetch and not contender.without:
                raise SystemExit(f"{work.name}: {failure}") from failure
            _say(f"{work.name}: {contender.name} left out: {failure}")
            return False
        return True

    def _calm(self, work: Work, contender: Contender, kept: dict[str, Path]) -> Sample:
        """Run a contender until nobody disturbs it, or enough is enough."""
        tries: list[Sample] = []
        for _ in range(TRIES):
            await_quiet(self.patience)
            try:
                tries.append(self._once(work, contender, kept))
            except Failed as failure:
                _say(f"{work.name}: {contender.name}, once more: {failure}")
                continue
            if not tries[-1].is_disturbed(os.cpu_count() or 1):
                break
        if not tries:
            raise SystemExit(f"{work.name}: {contender.name} failed {TRIES} times")
        return least_disturbed(tries)

    def _once(
        self, work: Work, contender: Contender, kept: dict[str, Path], *, digests: bool = False
    ) -> Sample:
        target = kept.get(contender.name) or self._new_target()
        scene = self._scene(work, contender, target)
        sample = self._measure(contender, contender.build(scene), scene)
        if contender.files is not None:
            wrong = scene.material.wrong(target / contender.files(scene.material), digests=digests)
            if wrong:
                raise Failed(f"{contender.name} left wrong files: {', '.join(wrong[:3])}")
        if contender.name not in kept:
            self._forget([target])
        return sample

    def _measure(self, contender: Contender, command: Command, scene: Scene) -> Sample:
        common = {"PATH": os.environ["PATH"], "HOME": str(scene.home), "LANG": "C.UTF-8", "TERM": "xterm"}
        complete = replace(command, env={**common, **command.env, **contender.env})
        cwd = scene.material.root if contender.at_source else scene.target
        os.sync()  # what earlier runs left to be written is not this one's work
        processors = self.site.isolation.clients
        log = self.directory / "stderr"
        return measure(complete, cwd, self.site.ear.fileno(), log, self.site.cpu, processors)

    def _scene(self, work: Work, contender: Contender, target: Path) -> Scene:
        material = self.materials[contender.material or work.material]
        where = address(self.site, work.profile, material, secure=work.secure)
        lists = self.directory / "lists" / f"{work.name}-{material.name}"
        if not lists.exists():
            listings.write(lists, material, where)
            listings.write_scripts(lists, self.tools["python"])
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return Scene(self.tools, material, where, lists, target, home, self.site.certificate)

    def _new_target(self) -> Path:
        self._number += 1
        target = self.directory / "targets" / str(self._number)
        target.mkdir(parents=True)
        return target

    def _forget(self, targets: Iterable[Path]) -> None:
        for target in targets:
            if sum(len(files) for _, _, files in os.walk(target)) < MANY:
                shutil.rmtree(target)


def _rotated(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Another one first in every round, so that none always follows the same."""
    start = number % len(contenders) if contenders else 0
    return [*contenders[start:], *contenders[:start]]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
