"""What samples say: medians, ratios, and which of them were disturbed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Figure = Literal["wall", "cpu", "memory"]

DISTURBED_SHARE = 0.05
"""Share of the machine that others may use during a run; differences under 7 % are noise anyway."""
DISTURBED_SECONDS = 0.03
"""CPU seconds of others below which a run is never called disturbed: the kernel counts in steps of 10 ms."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run cost.

    Attributes:
        wall: Seconds from exec to exit.
        cpu: CPU seconds of the process and its children, user and system.
        memory: Bytes resident at the peak, of the largest process.
        foreign: CPU seconds that neither it, nor the server, nor this program used meanwhile.
    """

    wall: float
    cpu: float
    memory: int
    foreign: float = 0.0

    def is_disturbed(self, cpus: int) -> bool:
        """Whether others had more than their share of the machine."""
        return self.foreign > max(DISTURBED_SECONDS, DISTURBED_SHARE * self.wall * cpus)


Samples = Mapping[str, Sequence[Sample]]
"""The samples of each contender; those with the same index are of the same round."""


def typical(samples: Sequence[Sample], figure: Figure) -> float:
    """The median of one figure."""
    return median(_of(sample, figure) for sample in samples)


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], figure: Figure = "wall") -> float:
    """The ratio of the medians."""
    return _divided(typical(ours, figure), typical(theirs, figure))


def ratio_by_round(ours: Sequence[Sample], theirs: Sequence[Sample], figure: Figure = "wall") -> float:
    """The median of the ratios within each round, which a slow change of the machine does not move."""
    pairs = zip(ours, theirs, strict=True)
    return median(_divided(_of(our, figure), _of(their, figure)) for our, their in pairs)


def least_disturbed(tries: Sequence[Sample]) -> Sample:
    """The run during which others used the smallest share of the machine."""
    return min(tries, key=lambda sample: _divided(sample.foreign, sample.wall))


def disturbed(samples: Sequence[Sample], cpus: int) -> int:
    """How many samples are disturbed, although they were the best of several tries."""
    return sum(sample.is_disturbed(cpus) for sample in samples)


@dataclass(frozen=True, slots=True)
class Goal:
    """What is hoped for: a ratio to a peer, or an absolute figure.

    Attributes:
        ours: The contender it is about.
        limit: Largest ratio, seconds or bytes.
        peer: Whom it is compared with; empty where the goal is absolute.
        figure: Which figure.
        words: What the limit stands for, where the number does not say it.
        best: Seconds of the best that anybody could do; 0 where nobody knows.
        minus: The contender whose figure is subtracted from ours; empty where none is.
    """

    ours: str
    limit: float
    peer: str = ""
    figure: Figure = "wall"
    words: str = ""
    best: float = 0.0
    minus: str = ""

    def reached(self, samples: Samples) -> float | None:
        """The ratio, the seconds or the bytes that were measured; None if one of the two did not run."""
        if not all(samples.get(name) for name in (self.ours, self.peer, self.minus) if name):
            return None
        if self.minus:
            return typical(samples[self.ours], self.figure) - typical(samples[self.minus], self.figure)
        if not self.peer:
            return typical(samples[self.ours], self.figure)
        return ratio(samples[self.ours], samples[self.peer], self.figure)


def _of(sample: Sample, figure: Figure) -> float:
    return float(getattr(sample, figure))


def _divided(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("inf")
