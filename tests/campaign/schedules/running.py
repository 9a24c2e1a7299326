"""One run of the real engine in a process of its own, which may be killed, and what came of it."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from modelfetch.cancel import Cancellation
from modelfetch.engine.ensure import ensure
from modelfetch.engine.events import Event, Progress, RunFinished
from modelfetch.engine.options import EnsureOptions, Request
from modelfetch.engine.runtime import Runtime
from modelfetch.model.manifest import Manifest
from modelfetch.net.client import Client
from modelfetch.net.retry import RetryPolicy
from modelfetch.net.time_limits import Limits
from modelfetch.sources.base import Source
from modelfetch.sources.huggingface import HuggingFaceSource
from modelfetch.sources.ipfs import IpfsSource
from modelfetch.sources.mirror import MirrorSource, UrlSource
from modelfetch.store import Store
from tests.campaign.schedules.schedule import Plan, Schedule
from tests.campaign.schedules.stage import Stage

STALL_SECONDS = 0.8
LIMITS = Limits(connect_timeout=2.0, stall_timeout=STALL_SECONDS, min_speed=1024.0)
RETRY = RetryPolicy(base=0.005, cap=0.02, retry_after_cap=2.0)
"""The real rules, with short waits."""
LONGEST_SECONDS = 90.0
"""After which a run hangs. The slowest honest one, with every try at every place stalling, takes a third."""
LOOK_SECONDS = 0.01
"""Between two looks at what has a final name."""
THREADS_SECONDS = 5.0
"""In which its threads have to be gone after a run."""


@dataclass
class Outcome:
    """What came of one process."""

    plan: Plan
    events: list[Event] = field(default_factory=list)
    """All but progress, of which only the last of each file is kept, before them."""
    said: str = ""
    """What it wrote to stderr: tracebacks, if anything."""
    is_killed: bool = False
    is_hung: bool = False
    seconds: float = 0.0
    threads: list[str] = field(default_factory=list)
    """Those that outlived the run."""

    @property
    def end(self) -> RunFinished | None:
        return next((event for event in self.events if isinstance(event, RunFinished)), None)


class Process:
    """A run under way in a child process."""

    def __init__(self, root: Path, stage: Stage, schedule: Schedule, plan: Plan, number: int) -> None:
        self.plan = plan
        self._notes = root.parent / f"run-{number}"
        self._began = time.monotonic()
        self._child = os.fork()
        if not self._child:
            _run(self._notes, _work(root, stage, schedule, plan))

    def watch(self, look: Callable[[], None]) -> Outcome:
        """Wait for its end, looking around meanwhile."""
        outcome = Outcome(self.plan)
        while not (ended := os.waitpid(self._child, os.WNOHANG))[0]:
            look()
            time.sleep(LOOK_SECONDS)
            self._intervene(outcome)
        outcome.seconds = time.monotonic() - self._began
        outcome.is_killed = os.WIFSIGNALED(ended[1])
        said = self._notes.with_suffix(".err")
        outcome.said = said.read_text(errors="replace") if said.exists() else ""
        story = self._notes.with_suffix(".events")
        if story.exists():
            outcome.events, outcome.threads = pickle.loads(story.read_bytes())
        return outcome

    def _intervene(self, outcome: Outcome) -> None:
        seconds, plan = time.monotonic() - self._began, self.plan
        if plan.ending == "kill" and plan.events is None and seconds > plan.seconds:
            os.kill(self._child, signal.SIGKILL)
        elif seconds > LONGEST_SECONDS and not outcome.is_hung:
            outcome.is_hung = True
            os.kill(self._child, signal.SIGUSR1)  # says where it hangs
        elif seconds > LONGEST_SECONDS + 2:
            os.kill(self._child, signal.SIGKILL)


def _work(root: Path, stage: Stage, schedule: Schedule, plan: Plan) -> Callable[[], list[Event]]:
    def work() -> list[Event]:
        cancel = Cancellation()
        client = Client(LIMITS, cancel)
        runtime = Runtime(
            store=Store(root, fsync=False),
            sources=_sources(client, stage, schedule),
            cancel=cancel,
            retry=RETRY,
            min_speed=LIMITS.min_speed,
            stall_timeout=LIMITS.stall_timeout,
            files=plan.files,
            split_policy=plan.split_policy,
            prepare=client.prepare,
            close=client.close,
        )
        try:
            return _follow(runtime, stage.manifest(), plan)
        finally:
            client.close()

    return work


def _sources(client: Client, stage: Stage, schedule: Schedule) -> Sequence[Source]:
    hub = stage.hub()
    by_kind: dict[str, Source] = {
        "mirror": MirrorSource(client, ()),
        "ipfs": IpfsSource(client, stage.gateways()),
        "url": UrlSource(client),
    }
    if hub is not None:
        by_kind["huggingface"] = HuggingFaceSource(client, hub, None)
    return [by_kind[kind] for kind in schedule.order if kind in by_kind]


def _follow(runtime: Runtime, manifest: Manifest, plan: Plan) -> list[Event]:
    """Follow a run as far as is planned."""
    told: list[Event] = []
    progress: dict[str, Event] = {}
    run = ensure(runtime, Request([manifest], EnsureOptions(force=plan.is_forced)))
    if plan.ending == "cancel" and plan.events is None:
        threading.Timer(plan.seconds, runtime.cancel.cancel).start()
    until = time.monotonic() + plan.seconds
    for number, event in enumerate(run):
        if isinstance(event, Progress):
            progress[event.file] = event
        else:
            told.append(event)
        if plan.ending == "finish":
            continue
        if plan.events is None and (plan.ending != "close" or time.monotonic() < until):
            continue
        if plan.events is not None and number < plan.events:
            continue
        if plan.ending == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        runtime.cancel.cancel()
        if plan.ending == "close":
            run.close()  # type: ignore[attr-defined]
            break
    return [*progress.values(), *told]


def _run(notes: Path, work: Callable[[], list[Event]]) -> NoReturn:
    code = 99
    try:
        with notes.with_suffix(".err").open("w") as err:
            os.dup2(err.fileno(), 2)
            sys.stderr = err
            faulthandler.register(signal.SIGUSR1, file=err, all_threads=True)
            code = _tell(notes, work)
    finally:
        os._exit(code)


def _tell(notes: Path, work: Callable[[], list[Event]]) -> int:
    try:
        events = work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 98
    until = time.monotonic() + THREADS_SECONDS
    while (threads := _left()) and time.monotonic() < until:
        time.sleep(0.01)
    notes.with_suffix(".events").write_bytes(pickle.dumps((events, threads)))
    sys.stderr.flush()
    return 0


def _left() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("modelfetch-")]
