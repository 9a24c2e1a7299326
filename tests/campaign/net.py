"""Random schedules of network faults, over the real engine, real loopback origins and a real disk.

``python -m tests.campaign net [--seed N] [--count N] [--budget S] [--workers N] [--out FILE]``

Each schedule has files and places made up from its seed: places that deliver in odd ways, that have passing
troubles, that lie, that refuse; one host or several; several connections a file, batches of small ones; runs
that are cancelled, left or killed, and then resumed. A failing schedule is printed with its seed:
``--seed S --count 1 --tell`` plays it again. Ends with 1 when there was a violation of any kind.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelfetch import __version__
from tests.campaign.schedules.oracles import KINDS
from tests.campaign.schedules.play import Verdict, play
from tests.campaign.schedules.schedule import schedule_of

LOADED_FIRST = ("modelfetch.net.session", "modelfetch.net.tls")
"""What runs load late: once before they are forked is enough."""


def campaign(seeds: range, workers: int, budget: float, root: Path | None, out: Path | None) -> list[Verdict]:
    """Play schedules, several at a time, until all are played or time is up."""
    context = multiprocessing.get_context("fork")
    results: Any = context.SimpleQueue()
    until = time.monotonic() + budget
    players = [
        context.Process(target=_play_some, args=(seeds[worker::workers], until, root, results))
        for worker in range(workers)
    ]
    for player in players:
        player.start()
    verdicts: list[Verdict] = []
    ended = 0
    while ended < workers:
        verdict = results.get()
        if verdict is None:
            ended += 1
            continue
        verdicts.append(verdict)
        _report(verdict, len(verdicts), out)
    return verdicts


def _play_some(seeds: range, until: float, root: Path | None, results: Any) -> None:
    try:
        for seed in seeds:
            if time.monotonic() > until:
                return
            results.put(play(seed, root))
    finally:
        results.put(None)


def _report(verdict: Verdict, count: int, out: Path | None) -> None:
    if out is not None:
        with out.open("a") as lines:
            told = [str(each) for each in verdict.violations]
            lines.write(json.dumps(asdict(verdict) | {"violations": told}) + "\n")
    if verdict.violations:
        print(verdict.told)
        for violation in verdict.violations:
            print(f"  VIOLATION {violation}")
        print(f"  again: python -m tests.campaign net --seed {verdict.seed} --count 1", flush=True)
    elif count % 100 == 0:
        print(f"{count} schedules", flush=True)


def summary(verdicts: list[Verdict], first: int, seconds: float) -> str:
    """Everything that came out, on one line."""
    kinds = Counter(each.kind for verdict in verdicts for each in verdict.violations)
    found = ", ".join(f"{kind} {kinds[kind]}" for kind in KINDS)
    failing = sum(bool(verdict.violations) for verdict in verdicts)
    return (
        f"net: seed {first}, {len(verdicts)} schedules, {sum(each.runs for each in verdicts)} runs, "
        f"{sum(each.kills for each in verdicts)} kills, {seconds:.0f} s, slowest run "
        f"{max((each.slowest for each in verdicts), default=0):.1f} s; {failing} failing; {found}; "
        f"modelfetch {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign net")
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule; the next one is one more")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--tmp", type=Path, help="where caches go; best in memory")
    parser.add_argument("--out", type=Path, help="file for a line of JSON for each schedule")
    parser.add_argument("--tell", action="store_true", help="print the schedules first")
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        print("net: SKIPPED, this system cannot fork")
        return
    for name in LOADED_FIRST:
        importlib.import_module(name)
    seeds = range(options.seed, options.seed + options.count)
    for seed in seeds if options.tell else ():
        print(schedule_of(seed))
    began = time.monotonic()
    workers = min(options.workers, options.count)
    verdicts = campaign(seeds, workers, options.budget, options.tmp, options.out)
    print(summary(verdicts, options.seed, time.monotonic() - began))
    sys.exit(1 if any(verdict.violations for verdict in verdicts) or not verdicts else 0)


if __name__ == "__main__":
    _main()
