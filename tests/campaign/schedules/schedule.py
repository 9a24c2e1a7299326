"""A schedule: which files, which places with which faults, which runs. A seed always gives the same one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from modelfetch.engine.segments import SplitPolicy
from tests.campaign.schedules import troubles
from tests.origin import Content, Fault, Request, faults

Kind = Literal["mirror", "ipfs", "huggingface", "url"]
KINDS: Sequence[Kind] = ("mirror", "ipfs", "huggingface", "url")
Character = Literal["clean", "shaky", "bad", "dead"]
CHARACTERS: Sequence[Character] = ("clean", "shaky", "bad", "dead")
Ending = Literal["finish", "cancel", "close", "kill"]

NAME = "m"
FEW_SMALL = 34
"""Small files that make a batch: the engine's own threshold is 32."""
TRIES = 4
"""Passing troubles of an honest place in all: one fewer than the tries it gets for a file."""


@dataclass(frozen=True)
class Trouble:
    """A fault, and for which requests."""

    fault: Fault
    times: int | None = None
    after: int = 0
    when: Literal["always", "at 0", "later", "some files"] = "always"

    def __str__(self) -> str:
        times = "" if self.times is None else f" x{self.times}"
        after = f" after {self.after}" if self.after else ""
        return f"{self.fault.name}{times}{after}{'' if self.when == 'always' else f' ({self.when})'}"

    def wants(self) -> Callable[[Request], bool] | None:
        match self.when:
            case "always":
                return None
            case "at 0":
                return lambda request: request.offset == 0
            case "later":
                return lambda request: request.offset > 0
            case "some files":
                return lambda request: sum(request.path.encode()) % 2 == 0


@dataclass(frozen=True)
class Place:
    """One place that claims to have every file."""

    number: int
    kind: Kind
    host: int
    character: Character
    troubles: tuple[Trouble, ...] = ()

    @property
    def is_honest(self) -> bool:
        return self.character in ("clean", "shaky")

    @property
    def is_reliable(self) -> bool:
        return self.is_honest and self.kind != "ipfs"

    @property
    def pattern(self) -> str:
        """Of its URLs' paths at its origin."""
        match self.kind:
            case "huggingface":
                return "/origin/*"
            case "ipfs":
                return "/ipfs/*"
            case _:
                return f"/files/p{self.number}/*"

    def __str__(self) -> str:
        faults_of_it = ", ".join(map(str, self.troubles)) or "good"
        return f"{self.kind} at host {self.host}, {self.character}: {faults_of_it}"


@dataclass(frozen=True)
class Plan:
    """How one run is done, and how it ends."""

    ending: Ending = "finish"
    events: int | None = None
    """Ends at this event; None for after some seconds."""
    seconds: float = 0.0
    is_paired: bool = False
    """Whether another process does the same at the same time, to its end."""
    is_forced: bool = False
    files: int = 4
    split_policy: SplitPolicy = field(default_factory=SplitPolicy)

    def __str__(self) -> str:
        when = f"event {self.events}" if self.events is not None else f"{self.seconds:.2f} s"
        end = self.ending if self.ending == "finish" else f"{self.ending} at {when}"
        extras = " beside another" * self.is_paired + " forced" * self.is_forced
        return f"{end}, {self.files} files x {self.split_policy.connections} connections{extras}"


@dataclass(frozen=True)
class Schedule:
    """What happens."""

    seed: int
    contents: dict[str, Content]
    places: tuple[Place, ...]
    order: tuple[Kind, ...]
    plans: tuple[Plan, ...]

    @property
    def is_deliverable(self) -> bool:
        """Whether somebody honest has every file who is not a volunteer, for these are asked once."""
        return any(place.is_reliable for place in self.places)

    @property
    def is_free_of_lies(self) -> bool:
        """Whether no place ever sends a byte that is not the file's."""
        return all(place.character != "bad" for place in self.places)

    def __str__(self) -> str:
        sizes = [content.size for content in self.contents.values()]
        lines = [f"seed {self.seed}: {len(sizes)} files, {min(sizes)} to {max(sizes)} bytes"]
        lines += [f"  place {place.number}: {place}" for place in self.places]
        return "\n".join([*lines, *(f"  run {number}: {plan}" for number, plan in enumerate(self.plans, 1))])


def schedule_of(seed: int) -> Schedule:
    """Make the schedule of a seed."""
    chance = random.Random(f"net {seed}")
    contents = _contents(chance, seed)
    largest = max(content.size for content in contents.values())
    places = _places(chance, largest)
    order = tuple(chance.sample(KINDS, len(KINDS)))
    return Schedule(seed, contents, places, order, tuple(_plans(chance, len(contents))))


def _contents(chance: random.Random, seed: int) -> dict[str, Content]:
    shape = chance.choices(["few", "batch", "both", "huge"], [5, 3, 3, 1])[0]
    sizes: list[int] = []
    if shape == "huge":
        sizes += [chance.randrange(9_000_000, 20_000_000)]
    if shape in ("few", "both"):
        sizes += [chance.randrange(260_000, 900_000) for _ in range(chance.randrange(1, 4))]
    if shape == "few":
        sizes += [chance.choice([1, 2, 999, 65_536, 262_144]) for _ in range(chance.randrange(3))]
    if shape in ("batch", "both"):
        sizes += [chance.randrange(1, 5000) for _ in range(chance.randrange(FEW_SMALL, 60))]
    return {
        f"{'d/' * (number % 2)}{number}.bin": Content.random(f"{seed} {number}", size)
        for number, size in enumerate(sizes)
    }


def _places(chance: random.Random, largest: int) -> tuple[Place, ...]:
    count, hosts = chance.randrange(1, 6), chance.randrange(1, 4)
    single: set[tuple[Kind, int]] = set()
    places: list[Place] = []
    for number in range(count):
        kind, host = chance.choice(KINDS), chance.randrange(hosts)
        if kind in ("huggingface", "ipfs"):  # there is one path for them at a host
            if (kind, host) in single or (kind == "huggingface" and any(each == kind for each, _ in single)):
                kind = "mirror"
            single.add((kind, host))
        character = chance.choices(CHARACTERS, [3, 3, 6, 0.5])[0]
        if kind == "ipfs" and character == "shaky":
            character = "clean"  # volunteers are asked once
        places.append(_place(chance, number, kind, host, character, largest))
    if all(place.character == "dead" for place in places):
        places.append(_place(chance, count, "mirror", 0, "bad", largest))
    if chance.random() < 0.9 and not any(place.is_reliable for place in places):
        character = chance.choice(CHARACTERS[:2])
        places.append(_place(chance, count + 1, chance.choice(["mirror", "url"]), 0, character, largest))
    return tuple(chance.sample(places, len(places)))


def _place(
    chance: random.Random, number: int, kind: Kind, host: int, character: Character, largest: int
) -> Place:
    make = {"clean": _clean, "shaky": _shaky, "bad": _bad, "dead": lambda *_: ()}[character]
    return Place(number, kind, host, character, tuple(make(chance, largest)))


def _clean(chance: random.Random, largest: int) -> Sequence[Trouble]:
    if chance.random() < 0.3:
        return ()
    return [Trouble(chance.choice(troubles.CLEAN)(chance, largest), None, 0, _when(chance))]


def _shaky(chance: random.Random, largest: int) -> Sequence[Trouble]:
    """A few passing troubles; then it is a clean place, or one that cuts at great intervals."""
    left, made = chance.randrange(1, TRIES + 1), []
    while left:
        times = chance.randrange(1, left + 1)
        left -= times
        fault = chance.choice(troubles.PASSING)(chance, largest)
        made.append(Trouble(fault, times, chance.choice([0, 0, 1, 3]), _when(chance)))
    if largest > troubles.REPEATED_CUT and chance.random() < 0.5:
        return [Trouble(faults.cut(chance.randrange(troubles.REPEATED_CUT, 2 * troubles.REPEATED_CUT)))]
    return [*made, *_clean(chance, largest)]


def _bad(chance: random.Random, largest: int) -> Sequence[Trouble]:
    made = []
    for _ in range(chance.randrange(3)):
        fault = chance.choice([*troubles.WRONG, *troubles.REFUSING, *troubles.PASSING])(chance, largest)
        made.append(Trouble(fault, chance.randrange(1, 9), chance.choice([0, 0, 1, 4]), _when(chance)))
    if chance.random() < 0.2:
        silence = chance.choice(troubles.SILENT)(chance, largest)
        made.append(Trouble(silence, troubles.MOST_SILENCES, chance.choice([0, 0, 1, 5]), _when(chance)))
    last = chance.choice([*troubles.WRONG, *troubles.REFUSING])(chance, largest)
    return [*made, Trouble(last, None, chance.choice([0, 0, 0, 1, 5]), _when(chance))]


def _when(chance: random.Random) -> Literal["always", "at 0", "later", "some files"]:
    return chance.choices(["always", "at 0", "later", "some files"], [6, 1, 1, 1])[0]  # type: ignore[return-value]


def _plans(chance: random.Random, files: int) -> list[Plan]:
    interrupted = chance.choices([0, 1, 2, 3], [4, 4, 2, 1])[0]
    endings: list[Ending] = [chance.choice(["cancel", "close", "kill", "kill"]) for _ in range(interrupted)]
    return [_plan(chance, ending, files) for ending in [*endings, "finish"]]


def _plan(chance: random.Random, ending: Ending, files: int) -> Plan:
    at = chance.randrange(1, 4 * files + 12) if chance.random() < 0.6 else None
    return Plan(
        ending=ending,
        events=at if ending != "finish" else None,
        seconds=chance.uniform(0.0, 0.4),
        is_paired=chance.random() < 0.12,
        is_forced=chance.random() < 0.05,
        files=chance.choice([1, 2, 4, 8]),
        split_policy=_split_policy(chance),
    )


def _split_policy(chance: random.Random) -> SplitPolicy:
    """Company for files of some 100 kB, called at once or late, and with as much or as little waste."""
    if chance.random() < 0.15:
        return SplitPolicy(connections=1)
    return SplitPolicy(
        connections=chance.choice([2, 4, 5, 8]),
        min_size=0,
        min_part=chance.choice([10_000, 50_000]),
        min_remainder=chance.choice([20_000, 100_000]),
        max_delay=chance.choice([0.0, 0.0, 0.01, 1.0]),
        sample=chance.choice([1, 100_000]),
        fast_speed=chance.choice([1e15, 1e15, 64e6]),
        stall_seconds=chance.choice([0.05, 3.0]),
        max_waste=chance.choice([0.08, 1.0]),
    )
