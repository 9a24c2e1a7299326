"""``python -m tests.bench``: modelfetch and its peers at the same works, on this machine."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import isolation, machine, material, page, tools
from tests.bench.ablation import FAST_PATHS, ablated
from tests.bench.report import Outcome, document, markdown
from tests.bench.rounds import Bench
from tests.bench.site import Site
from tests.bench.works import OURS, WORKS, Work

DIRECTORY = Path("/var/tmp/modelfetch-bench")
"""Not ``/tmp``, which may be memory: a tmpfs is slower than a file system in page cache."""
STDOUT = Path("-")

_EPILOG = """\
Nothing is installed. Peers are taken from PATH, or each from an environment of its own, so that none starts
with another's packages. Without --work every work is done, which takes half an hour. An example:

  python -m tests.bench --env modelfetch=/tmp/mf --env hf=/tmp/hf --work set-plain --json out.json
  python -m tests.bench --from out.json --markdown docs/explanation/performance.md
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the works and print a table for each, or tell again what was measured before."""
    options = _parser().parse_args(arguments)
    documents = [json.loads(file.read_text("utf-8")) for file in options.read] or [_measured(options)]
    if options.read:
        print("\n".join(page.parts(documents).values()))
    if options.markdown:
        text = options.markdown.read_text("utf-8")
        options.markdown.write_text(page.filled(text, page.parts(documents)), "utf-8")
    return 0


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    """Do the works; what was measured is written down after each."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave nothing running behind
    found = tools.find(dict(options.env))
    _require(found, ("modelfetch", "nginx", "openssl"))
    works = [_chosen(work, options) for work in WORKS if _is_wanted(work, options)]
    _require_disk(options.dir)
    os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    facts = {**machine.facts(options.dir), "nice": options.nice, "isolated": options.isolate}
    versions = tools.versions(found, dict.fromkeys(["python", "nginx", "openssl", *_programs(works)]))
    out = sys.stderr if options.json == STDOUT else sys.stdout
    print(page.preamble(facts, versions), file=out, flush=True)
    outcomes: list[Outcome] = []
    for outcome in _outcomes(works, found, options):
        outcomes.append(outcome)
        print(markdown(outcome), file=out, flush=True)
        if options.json not in (None, STDOUT):
            options.json.write_text(_text(document(outcomes, facts, versions)), "utf-8")
    measured = document(outcomes, facts, versions)
    if options.json == STDOUT:
        print(_text(measured), end="")
    return measured


def _text(measured: Mapping[str, Any]) -> str:
    return json.dumps(measured, indent=1) + "\n"


def _parser() -> argparse.ArgumentParser:
    names = [work.name for work in WORKS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure modelfetch and its peers at the same works: whole processes, from exec to exit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--work", action="append", choices=names, metavar="NAME", help=f"only this one of {', '.join(names)}")
    add("--peers", type=_names, metavar="A,B", help="only these peers, as curl,hf; none for none")
    add("--rounds", type=int, metavar="N", help="rounds of each work")
    add("--env", action="append", type=_pair, default=[], metavar="NAME=DIR", help="environment of a program")
    add("--variant", action="append", type=_variant, default=[], metavar="NAME:VAR=VALUE,...", help=_VARIANT)
    add("--without", action="append", choices=FAST_PATHS, default=[], metavar="NAME", help=_WITHOUT)
    add("--ablation", action="store_true", help="without each of them, where it matters")
    add("--json", type=Path, nargs="?", const=STDOUT, metavar="FILE", help=_JSON)
    add("--from", dest="read", action="append", type=Path, default=[], metavar="FILE", help=_FROM)
    add("--markdown", type=Path, metavar="FILE", help="fill in the tables of this page, between its marks")
    add("--dir", type=Path, default=DIRECTORY, metavar="DIR", help="where files are made and fetched to")
    add(
        "--patience", type=float, default=10.0, metavar="S", help="seconds a run may wait for a quiet machine"
    )
    add(
        "--isolate", action="store_true", help="server and clients on processors and in networks of their own"
    )
    add("--nice", type=int, default=0, metavar="N", help="priority of server and clients, as of nice")
    return parser


_VARIANT = "a further row: modelfetch with these variables"
_WITHOUT = f"a further row: modelfetch without one of {', '.join(FAST_PATHS)}"
_JSON = "write everything that was measured to this file, or to standard output instead of the tables"
_FROM = "measure nothing, tell what such a file holds; of several, the last one with a table counts"


def _names(text: str) -> set[str]:
    names = {*text.split(",")} - {"none"}
    peers = {each.needs[0] for work in WORKS for each in work.contenders if each.is_peer}
    if not names <= peers:
        raise argparse.ArgumentTypeError(f"write none or some of {','.join(sorted(peers))}, not {text!r}")
    return names


def _pair(text: str) -> tuple[str, Path]:
    name, equals, directory = text.partition("=")
    if not equals or name not in (*tools.PROGRAMS, *tools.LIBRARIES):
        raise argparse.ArgumentTypeError(f"write NAME=DIR, not {text!r}")
    return name, Path(directory).absolute()


def _variant(text: str) -> tuple[str, dict[str, str]]:
    name, _, variables = text.partition(":")
    pairs = [pair.partition("=") for pair in variables.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"write NAME:VAR=VALUE, not {text!r}")
    return name, {variable: value for variable, _, value in pairs}


def _require(found: Mapping[str, str], names: Iterable[str]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise SystemExit(f"not found: {', '.join(missing)}. Install it, or name its environment with --env.")


def _require_disk(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if machine.filesystem(directory.resolve()) == "tmpfs":
        raise SystemExit(f"{directory} is memory (tmpfs): name a directory on a disk with --dir")


def _left_out(options: argparse.Namespace) -> Collection[str]:
    """Fast paths without which the works are done as well."""
    return FAST_PATHS if options.ablation else options.without


def _is_wanted(work: Work, options: argparse.Namespace) -> bool:
    """Whether a work was named; else every one, but with fast paths to leave out only where they matter."""
    left_out = [FAST_PATHS[name].works for name in _left_out(options)]
    if options.work:
        return work.name in options.work
    return not left_out or any(work.name in works for works in left_out)


def _chosen(work: Work, options: argparse.Namespace) -> Work:
    """A work with the peers that are wanted, variants of modelfetch, and fast paths left out."""
    peers = options.peers
    kept = [each for each in work.contenders if peers is None or not each.is_peer or each.needs[0] in peers]
    more = [
        replace(each, name=f"{each.name}, {name}", env={**each.env, **variables})
        for name, variables in options.variant
        for each in kept
        if each.name == OURS
    ]
    return ablated(replace(work, contenders=[*kept, *more]), _left_out(options))


def _programs(works: Iterable[Work]) -> list[str]:
    """Every program that takes part."""
    return sorted({name for work in works for each in work.contenders for name in each.needs})


def _outcomes(works: Sequence[Work], found: dict[str, str], options: argparse.Namespace) -> Iterable[Outcome]:
    """Do one work after the other, in a directory that is gone afterwards."""
    names = dict.fromkeys(name for work in works for name in work.materials)
    materials = {name: material.make(name, options.dir / "files") for name in names}
    run = options.dir / f"run-{os.getpid()}"
    run.mkdir()
    try:
        with ExitStack() as stack:
            place = stack.enter_context(isolation.isolated()) if options.isolate else isolation.none()
            served = Site(found["nginx"], found["openssl"], run, list(materials.values()), place)
            site = stack.enter_context(served)
            bench = Bench(run, found, site, materials, options.patience)
            for work in works:
                samples = bench.run(work, options.rounds or work.rounds)
                yield Outcome(work, samples, os.cpu_count() or 1, os.getloadavg()[0])
    finally:
        shutil.rmtree(run)


if __name__ == "__main__":
    raise SystemExit(main())
