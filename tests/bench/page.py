"""Documents read again, and made into a page: the tables stand between two marks each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any, TypeVar

from tests.bench.ablation import FAST_PATHS, ablated
from tests.bench.figures import Sample
from tests.bench.report import WIDTH, Outcome, beside_peers, of_fast_paths
from tests.bench.works import WORKS

Thing = TypeVar("Thing")

PARTS = ("machine", "table", "ablation")
"""What is between the marks: facts and versions, the tables with peers, the table of the fast paths."""


def outcomes(document: Mapping[str, Any]) -> Iterator[Outcome]:
    """What a document tells of; rows that are in no table any more, and variants, are left out."""
    works = {work.name: ablated(work, FAST_PATHS) for work in WORKS}
    for told in document["works"]:
        work = works[told["name"]]
        samples = {each["name"]: [_sample(run) for run in each["runs"]] for each in told["contenders"]}
        yield Outcome(work, samples, int(document["machine"]["cpus"]), told["load"])


def _sample(run: Mapping[str, Any]) -> Sample:
    return Sample(run["wall"], run["cpu"], run["memory"], run["foreign"])


def parts(documents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The text of each part, without those that nothing is known of. Of each table the last one counts."""
    found = [outcome for document in documents for outcome in outcomes(document)]
    texts = {"table": "\n".join(_last(found, [*map(beside_peers, found)]).values())}
    texts["ablation"] = of_fast_paths([*_last(found, found).values()])
    texts["machine"] = preamble(documents[0]["machine"], _versions(documents)) if documents else ""
    return {name: text for name, text in texts.items() if text}


def _last(found: Sequence[Outcome], things: Sequence[Thing]) -> dict[str, Thing]:
    """What the last outcome of each work has, if it has anything, in the order of the works."""
    last = {
        each.work.name: thing
        for each, thing in zip(found, things, strict=True)
        if thing and (not isinstance(thing, Outcome) or thing.told(without=True))
    }
    return {work.name: last[work.name] for work in WORKS if work.name in last}


def _versions(documents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {name: version for document in documents for name, version in document["versions"].items()}


def preamble(machine: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Machine and versions, in one paragraph."""
    facts = [f"{name}: {_words(value)}" for name, value in {**machine, **versions}.items()]
    return fill("; ".join(facts), WIDTH, break_on_hyphens=False, break_long_words=False) + "\n"


def _words(value: Any) -> str:
    return ", ".join(f"{each:.1f}" for each in value) if isinstance(value, list | tuple) else str(value)


def filled(page: str, texts: Mapping[str, str]) -> str:
    """A page with these texts between their marks; marks without a text keep what they have.

    Raises:
        ValueError: A text has no marks.
    """
    for name, text in texts.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, mark, rest = page.partition(begin)
        _, other, after = rest.partition(end)
        if not mark or not other:
            raise ValueError(f"no {begin.strip()} and {end} in the page")
        page = f"{before}{begin}\n{text.strip()}\n\n{end}{after}"
    return page
