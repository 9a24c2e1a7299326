"""Many small files: told of and stored as ever, but quickly; and in any doubt the ordinary way."""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine import batch_connections
from modelfetch.engine.batch import FAILURES, LARGEST, SAMPLE, Batch
from modelfetch.engine.batch_connections import (
    FIRST,
    IN_MEMORY,
    MOST,
    BatchConnections,
    fitting,
    most_threads,
    threads_for,
)
from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    FileStarted,
    FileVerified,
    ModelReady,
    Progress,
    RetryScheduled,
    SourceFailed,
)
from modelfetch.engine.file import FileDone, Item, Mode, flatten
from modelfetch.engine.plan import Inventory, Job, jobs
from modelfetch.engine.rate_limit import Clock
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.workers import merge
from modelfetch.model.manifest import Manifest
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from modelfetch.sources.local import LocalSource, Places, Search
from modelfetch.sources.local_digests import LocalDigests, NoDigests
from modelfetch.sources.local_directories import LocalDirectory
from modelfetch.sources.mirror import MirrorSource
from modelfetch.store import Store
from tests.engine.fakes import (
    EAGER,
    FakeClock,
    FakeTime,
    Laboratory,
    SpyDisk,
    all_workers_end,
    body,
    code,
    kinds,
    last,
    model,
    of,
    spec,
    statuses,
)
from tests.origin import Fault, Origin, Request, faults
from tests.patience import IN_TIME

FILES = {f"part-{n % 3}/{n}.bin": body(500 + n, n) for n in range(40)}
MODEL = model("m", FILES)
LIMITS = Limits(connect_timeout=IN_TIME, stall_timeout=IN_TIME)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new connections of a batch wait for their first answers, however long a busy machine takes."""
    monkeypatch.setattr(batch_connections, "PATIENCE_SECONDS", IN_TIME)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with serving(FILES) as origin:
        yield origin


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[Origin]:
    with Origin() as origin:
        for path, content in files.items():
            origin.add(path, content)
        yield origin


@contextmanager
def run_of(
    lab: Laboratory,
    *origins: Origin,
    cancel: Cancellation | None = None,
    files: int = 4,
    limit_rate: int | None = None,
    seconds: float | None = None,
    store: Store | None = None,
    clock: Clock | None = None,
) -> Iterator[Runtime]:
    """The runtime of one run that knows some mirrors.

    On its clock only requests take time: enough for several connections, and too little for a word about a
    file that stands still, as one seems to do on a busy machine.
    """
    cancel = cancel or Cancellation()

    def passing() -> float:
        return 1000.0 + 0.002 * sum(len(origin.requests) for origin in origins)

    client = Client(LIMITS, cancel)
    source = MirrorSource(client, [origin.mirror for origin in origins])
    yield lab.runtime(
        cancel=cancel,
        sources=[source],
        files=files,
        limit_rate=limit_rate,
        seconds=seconds,
        store=store,
        clock=clock or passing,
    )
    client.close()


def batch_of(runtime: Runtime, work: Sequence[Job]) -> Iterator[Item | None]:
    """What a batch yields, and the tasks that it leaves to the ordinary way."""
    cancel = runtime.cancel.child()
    with closing(merge([Batch(runtime, work, Mode()).run()], runtime.files, cancel)) as merged:
        yield from flatten(merged)


def ensure(lab: Laboratory, *origins: Origin, manifest: Manifest = MODEL, force: bool = False) -> list[Event]:
    with run_of(lab, *origins) as runtime:
        return lab.ensure(manifest, runtime=runtime, force=force)


def all_are_there(lab: Laboratory, files: Mapping[str, bytes] = FILES, manifest: Manifest = MODEL) -> bool:
    return all(lab.read(manifest, path) == content for path, content in files.items())


def was_quick(events: list[Event]) -> bool:
    """Whether nobody was told that a source was about to be asked: that is the ordinary way."""
    return not of(events, Progress)


# When all goes well


def test_every_file_is_there_and_was_asked_for_once(lab: Laboratory, origin: Origin) -> None:
    events = ensure(lab, origin)
    assert code(events) == 0
    assert was_quick(events)
    assert all_are_there(lab)
    assert Counter(request.file for request in origin.requests) == dict.fromkeys(FILES, 1)
    assert not list(lab.root.glob("partial/*"))


def test_each_file_is_told_of_as_ever(lab: Laboratory, origin: Origin) -> None:
    events = ensure(lab, origin)
    assert Counter(kinds(events)) == {
        "run_started": 1,
        "planned": 1,
        "file_started": len(FILES),
        "file_verified": len(FILES),
        "file_committed": len(FILES),
        "model_ready": 1,
        "run_finished": 1,
    }
    for path, content in FILES.items():
        started, verified, committed = (event for event in events if getattr(event, "file", "") == path)
        assert started == FileStarted("m", path, len(content), 0)
        assert isinstance(verified, FileVerified)
        assert isinstance(committed, FileCommitted)
        assert Path(committed.path).read_bytes() == content
        assert (committed.source, committed.host) == ("mirror", f"127.0.0.1:{origin.port}")
        assert committed.fetched == len(content)
    assert of(events, ModelReady)[0].fetched == MODEL.size
    assert set(statuses(events).values()) == {"completed"}


def test_every_end_carries_its_own_job(lab: Laboratory, origin: Origin) -> None:
    """Also of a file that is left to the ordinary way, which then comes after files that were after it."""
    path = list(FILES)[10]
    origin.fault(path, faults.status(500), times=1)
    work = jobs([Inventory(MODEL, frozenset())])
    with run_of(lab, origin) as runtime:
        ends = of(batch_of(runtime, work), FileDone)
    assert len(ends) == len(work)
    assert {done.job for done in ends} == {*work}
    assert all(done.obtained is not None and done.obtained.fetched == done.job.file.size for done in ends)
    assert ends[-1].job.file.path == path


def test_the_next_run_finds_everything(lab: Laboratory, origin: Origin) -> None:
    ensure(lab, origin)
    assert kinds(ensure(lab, origin)).count("file_kept") == len(FILES)


MANY = FIRST + 4
"""Connections that a batch has only where answers prove more of them to be useful."""


def answers_slowly(origin: Origin, clock: FakeClock) -> None:
    """Let answers take seconds of a clock, and hold up who asks again until there are many connections."""
    many = threading.Event()

    def has_to_wait(request: Request) -> bool:
        clock.now += 5.0
        if origin.connections >= MANY:
            many.set()
        return request.reused

    origin.fault("*", faults.stall(until=many), after=SAMPLE, when=has_to_wait)


def test_a_slow_server_is_asked_for_many_at_a_time(lab: Laboratory, origin: Origin) -> None:
    clock = FakeClock()
    answers_slowly(origin, clock)
    with run_of(lab, origin, clock=clock) as runtime:
        events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 0
    assert len(origin.requests) == len(FILES), "each file was fetched in the batch"
    assert origin.connections >= MANY


@pytest.mark.slow
def test_files_that_are_not_for_a_batch_are_no_sample(lab: Laboratory, origin: Origin) -> None:
    for path in sorted(FILES, key=lambda path: len(FILES[path]))[:4]:
        origin.fault(path, faults.status(404))
    clock = FakeClock()
    answers_slowly(origin, clock)
    with serving(FILES) as second, run_of(lab, origin, second, clock=clock) as runtime:
        assert code(lab.ensure(MODEL, runtime=runtime)) == 0
    assert origin.connections >= MANY


@pytest.mark.slow
def test_a_run_of_one_file_at_a_time_stays_one(lab: Laboratory, origin: Origin) -> None:
    origin.fault("*", faults.late(0.01))
    with run_of(lab, origin, files=1) as runtime:
        events = lab.ensure(MODEL, runtime=runtime)
    assert was_quick(events)
    assert origin.connections == 1


def test_large_files_go_the_ordinary_way_beside_it(lab: Laboratory, origin: Origin) -> None:
    large = body(LARGEST + 1, 77)
    origin.add("large.bin", large)
    files = {**FILES, "large.bin": large}
    manifest = model("m", files)
    events = ensure(lab, origin, manifest=manifest)
    assert {event.file for event in of(events, Progress)} == {"large.bin"}
    assert all_are_there(lab, files, manifest)


def test_equal_bytes_are_fetched_once_for_every_model(lab: Laboratory, origin: Origin) -> None:
    other = model("other", {f"deep/{path}": content for path, content in FILES.items()})
    with run_of(lab, origin) as runtime:
        events = lab.ensure(MODEL, other, runtime=runtime)
    assert code(events) == 0
    assert len(origin.requests) == len(FILES)
    assert sum(event.fetched for event in of(events, FileCommitted)) == MODEL.size
    assert len(of(events, FileCommitted)) == 2 * len(FILES)
    assert {event.model for event in of(events, ModelReady)} == {"m", "other"}
    assert all(lab.read(other, f"deep/{path}") == content for path, content in FILES.items())


@pytest.mark.slow
def test_two_runs_at_once_come_out_right(lab: Laboratory, origin: Origin) -> None:
    """Different models of the same files: their locks do not keep them apart."""
    origin.fault("*", faults.late(0.002))
    models = [replace(MODEL, name=name) for name in ("a", "b")]
    outcomes: list[list[Event]] = []
    threads = [
        threading.Thread(target=lambda m=m: outcomes.append(ensure(lab, origin, manifest=m))) for m in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [code(events) for events in outcomes] == [0, 0]
    assert all(all_are_there(lab, FILES, manifest) for manifest in models)


# When to leave it alone


@pytest.mark.slow
def test_files_that_may_be_split_go_the_ordinary_way(lab: Laboratory, origin: Origin) -> None:
    with run_of(lab, origin) as runtime:
        assert not was_quick(lab.ensure(MODEL, runtime=replace(runtime, split_policy=EAGER)))


@pytest.mark.slow
def test_a_limited_rate_is_kept(lab: Laboratory, origin: Origin) -> None:
    with run_of(lab, origin, limit_rate=10_000_000, clock=time.monotonic) as runtime:
        assert not was_quick(lab.ensure(MODEL, runtime=runtime))


@pytest.mark.slow
def test_forced_files_go_the_ordinary_way(lab: Laboratory, origin: Origin) -> None:
    ensure(lab, origin)
    events = ensure(lab, origin, force=True)
    assert not was_quick(events)
    assert len(origin.requests) == 2 * len(FILES)


def test_what_is_here_is_not_fetched(lab: Laboratory, origin: Origin) -> None:
    """A blob, an unfinished download, and a file of this disk that a nearer source has."""
    paths = list(FILES)
    blob = model("earlier", {"x": FILES[paths[0]]})
    lab.install(blob, contents=[FILES[paths[0]]])
    lab.begin(FILES[paths[1]], "mirror earlier.example", 400)
    near = lab.root.parent / "near.bin"
    near.write_bytes(FILES[paths[2]])
    with run_of(lab, origin) as runtime:
        local = LocalSource([lambda _manifest, file: [near] if file.path == paths[2] else []])
        events = lab.ensure(MODEL, runtime=replace(runtime, sources=[local, *runtime.sources]))
    assert code(events) == 0
    assert all_are_there(lab)
    asked = {request.file: request.offset for request in origin.requests}
    assert asked.keys() == {*paths} - {paths[0], paths[2]}
    assert asked.pop(paths[1]) == 400
    assert set(asked.values()) == {0}


def test_files_of_the_same_size_elsewhere_keep_no_file_out_of_the_batch(
    lab: Laboratory, origin: Origin
) -> None:
    """They are hashed once and ruled out, without a word."""
    place = lab.root.parent / "nas"
    place.mkdir()
    for number, content in enumerate(FILES.values()):
        (place / f"{number}").write_bytes(bytes(len(content)))
    with run_of(lab, origin) as runtime:
        digests = LocalDigests(NoDigests(), runtime.cancel)
        search = Search(place, LocalDirectory(place).of_size)
        local = LocalSource([], lambda: Places((), [search], digests))
        events = lab.ensure(MODEL, runtime=replace(runtime, sources=[local, *runtime.sources]))
    assert code(events) == 0
    assert all_are_there(lab)
    assert [event for event in events if isinstance(event, SourceFailed)] == []
    assert len(origin.requests) == len(FILES)


# When something goes wrong


def test_a_file_that_is_missing_there_comes_from_the_next_mirror(lab: Laboratory, origin: Origin) -> None:
    path = next(iter(FILES))
    origin.fault(path, faults.status(404))
    with serving(FILES) as second:
        events = ensure(lab, origin, second)
        assert [request.file for request in second.requests] == [path]
    assert code(events) == 0
    [failed] = of(events, SourceFailed)
    assert (failed.file, failed.fault) == (path, "not_found")
    assert all_are_there(lab)


def test_wrong_bytes_are_blamed_and_put_aside_and_never_named(lab: Laboratory, origin: Origin) -> None:
    path = next(iter(FILES))
    origin.fault(path, faults.flipped())
    with serving(FILES) as second:
        events = ensure(lab, origin, second)
    assert code(events) == 0
    [quarantined] = of(events, FileQuarantined)
    assert quarantined.file == path
    assert len(lab.quarantined()) == 1
    assert all_are_there(lab)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "fault",
    [faults.cut(0.5), faults.no_answer(), faults.chunked(), faults.status(500), faults.too_many()],
    ids=lambda fault: fault.name,
)
def test_a_stumble_costs_one_file_a_second_try(lab: Laboratory, origin: Origin, fault: Fault) -> None:
    path = list(FILES)[10]
    origin.fault(path, fault, times=1)
    events = ensure(lab, origin)
    assert code(events) == 0
    assert all_are_there(lab)
    assert {event.file for event in of(events, Progress)} <= {path}


def test_a_wait_that_was_asked_for_begins_with_the_first_answer(lab: Laboratory, origin: Origin) -> None:
    """The ordinary way replays it, and asks only once the wait is over."""
    few = dict(list(FILES.items())[:2])
    manifest = model("few", few)
    origin.fault("*", faults.status(503, retry_after=1), times=1)
    passing = FakeTime()
    with run_of(lab, origin, cancel=passing, clock=passing.clock, files=1) as runtime:
        events = lab.ensure(manifest, runtime=runtime)
    assert code(events) == 0
    [event] = of(events, RetryScheduled)
    assert (event.attempt, event.fault) == (2, "busy")
    assert sum(passing.sleeps) >= 1.0
    assert len(origin.requests) == 3


def test_what_came_before_a_cut_is_not_fetched_again(lab: Laboratory, origin: Origin) -> None:
    path = next(iter(FILES))
    origin.fault(path, faults.cut(0.5), times=1)
    events = ensure(lab, origin)
    assert code(events) == 0
    offsets = [request.offset for request in origin.requests if request.file == path]
    assert len(offsets) == 2
    assert offsets[1] > 0


@pytest.mark.slow
def test_a_cancelled_run_keeps_the_bytes_of_files_under_way(lab: Laboratory) -> None:
    """The time limit is reached when half of the file came."""
    release, clock, events = threading.Event(), FakeClock(), list[Event]()
    content = body(LARGEST, 3)

    def now() -> float:
        clock.now += 1.0
        return clock.now

    with serving({"x": content}) as origin:
        origin.fault("*", faults.stall(0.5, until=release))
        with run_of(lab, origin, seconds=1e6, clock=now) as runtime:
            for event in lab.follow(model("m", {"x": content}), runtime=runtime):
                events.append(event)
                if isinstance(event, Progress) and event.received >= 400_000:
                    clock.now += 1e6
        release.set()
    assert last(events).exit_code == 10
    error = last(events).error
    assert error is not None
    assert f"m: x from mirror 127.0.0.1:{origin.port}: the time limit" in error.message
    [data] = lab.root.glob("partial/**/data*")
    assert data.stat().st_size >= 400_000
    assert lab.store.held(spec("x", content)) >= 400_000


@pytest.mark.slow
def test_a_busy_server_is_left_alone_and_told_of(lab: Laboratory, origin: Origin) -> None:
    origin.fault("*", faults.status(429, retry_after=0), after=10, times=3)
    with run_of(lab, origin, files=1) as runtime:  # one at a time: the first refusal ends the batch
        events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 0
    assert of(events, RetryScheduled)
    assert all_are_there(lab)
    assert not was_quick(events)


@pytest.mark.slow
def test_a_server_that_lacks_everything_is_not_asked_for_everything_twice(lab: Laboratory) -> None:
    with Origin() as empty, serving(FILES) as second:
        events = ensure(lab, empty, second)
        assert len(empty.requests) <= len(FILES) + FAILURES + MOST
    assert code(events) == 0
    assert all_are_there(lab)


@pytest.mark.slow
def test_as_many_failures_as_are_allowed_end_the_batch(lab: Laboratory) -> None:
    """With one thread the count is exact: after them every file takes the ordinary way, from the start."""
    with Origin() as empty, serving(FILES) as second, run_of(lab, empty, second, files=1) as runtime:
        events = lab.ensure(MODEL, runtime=runtime)
    assert len(empty.requests) == len(FILES)  # also those that the batch asked for
    assert code(events) == 0
    assert all_are_there(lab)


@pytest.mark.slow
def test_one_failure_less_does_not_end_the_batch(lab: Laboratory) -> None:
    missing = list(FILES)[1 - FAILURES :]  # the largest, so they come first
    present = {path: content for path, content in FILES.items() if path not in missing}
    with serving(present) as first, serving(FILES) as second, run_of(lab, first, second, files=1) as runtime:
        events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 0
    assert all_are_there(lab)
    assert {event.file for event in of(events, Progress)} == set(missing)


@pytest.mark.slow
def test_nobody_there_ends_as_ever(lab: Laboratory, origin: Origin) -> None:
    origin.close()
    events = ensure(lab, origin)
    assert code(events) == 6
    assert set(statuses(events).values()) == {"failed"}


@pytest.mark.quick(1)
@pytest.mark.parametrize("operation", ["create", "write", "rename to", "link to"])
def test_a_disk_that_refuses_ends_the_run_with_its_error(
    lab: Laboratory, origin: Origin, operation: str
) -> None:
    def refuses(kind: str, path: Path) -> bool:
        return kind == operation and "locks" not in path.parts

    store = Store(lab.root, disk=SpyDisk(refuses, errno.ENOSPC))
    with run_of(lab, origin, store=store) as runtime:
        events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 7
    assert not list(lab.root.rglob(".mf-tmp-*/*"))


@pytest.mark.slow
def test_a_cancelled_batch_ends_soon_and_the_next_run_goes_on(lab: Laboratory, origin: Origin) -> None:
    release = threading.Event()
    origin.fault("*", faults.late(0.02), times=20)
    origin.fault("*", faults.stall(until=release))
    with run_of(lab, origin, clock=time.monotonic) as runtime:
        events = lab.follow(MODEL, runtime=runtime)
        while not isinstance(next(events), FileCommitted):
            pass  # those that came are committed while the others stall
        began = time.monotonic()
        events.close()
        assert time.monotonic() - began < IN_TIME
    release.set()
    assert all_workers_end()
    done = sum((lab.store.find_blob(file) is not None) for file in MODEL.files)
    assert done
    origin.heal()
    origin.forget()
    assert code(ensure(lab, origin)) == 0
    assert len(origin.requests) == len(FILES) - done
    assert all_are_there(lab)


@pytest.mark.slow
def test_a_lane_that_fails_does_not_cancel_the_run(
    lab: Laboratory, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.fault("*", faults.late(0.02))
    work = jobs([Inventory(MODEL, frozenset())])
    answers = count()

    def fail_once(self: BatchConnections) -> None:
        if next(answers) == 0:  # there may be few: what answers late on a busy machine goes the ordinary way
            raise ValueError("on purpose")

    monkeypatch.setattr(BatchConnections, "note_answer", fail_once)
    with run_of(lab, origin, clock=time.monotonic) as runtime:
        with pytest.raises(ValueError, match="on purpose"):
            list(batch_of(runtime, work))
        assert not runtime.cancel.cancelled
        assert all_workers_end()
        assert code(lab.ensure(MODEL, runtime=runtime)) == 0


@pytest.mark.quick(1)
@pytest.mark.parametrize("lateness", [0.0, 0.02], ids=["one connection", "several"])
def test_a_deadline_ends_it(lab: Laboratory, origin: Origin, lateness: float) -> None:
    origin.fault("*", faults.late(lateness), times=5)
    origin.fault("*", faults.stall())
    began = time.monotonic()
    with run_of(lab, origin, seconds=0.3, clock=time.monotonic) as runtime:
        events = lab.ensure(MODEL, runtime=runtime)
    assert last(events).exit_code == 10
    assert time.monotonic() - began < IN_TIME


# Progress while there is no answer


@pytest.mark.slow
@pytest.mark.parametrize("answered", [0, SAMPLE], ids=["sample", "connections"])
def test_files_without_an_answer_are_reported(lab: Laboratory, origin: Origin, answered: int) -> None:
    """The server is held until one file was reported twice; its start is reported once."""
    release, clock, heard = threading.Event(), FakeClock(), Counter[str]()

    def now() -> float:
        clock.now += 0.0 if release.is_set() else 1.0
        return clock.now

    origin.fault("*", faults.late(0.02), times=answered)  # long enough for several connections
    origin.fault("*", faults.stall(until=release))
    with run_of(lab, origin, clock=now) as runtime:
        events = list[Event]()
        for event in lab.follow(MODEL, runtime=runtime):
            events.append(event)
            if isinstance(event, Progress) and event.attempt and not event.received:
                heard[event.file] += 1
                if heard[event.file] == 3:
                    release.set()
    assert release.is_set()
    assert code(events) == 0
    assert set(Counter(event.file for event in of(events, FileStarted)).values()) == {1}
    assert not runtime.requests


@pytest.mark.slow
def test_the_bytes_of_a_slow_answer_are_counted(lab: Laboratory, origin: Origin) -> None:
    received, release, clock = set[int](), threading.Event(), count(1000.0, 1.0)
    origin.fault("*", faults.stall(100, until=release))
    with run_of(lab, origin, clock=lambda: next(clock)) as runtime:
        for event in lab.follow(MODEL, runtime=runtime):
            if isinstance(event, Progress) and event.attempt:
                received.add(event.received)
                if event.received == 100:
                    release.set()
    assert received >= {0, 100}


# How many at a time


@pytest.mark.parametrize(
    ("wait", "threads"),
    [(0.0, 1), (0.0001, 1), (0.0008, 1), (0.001, 2), (0.002, 3), (0.01, 13), (0.05, 63), (2.0, 64)],
)
def test_the_longer_the_wait_the_more_files_at_a_time(wait: float, threads: int) -> None:
    assert threads_for(wait, MOST) == threads


def test_the_setting_bounds_it() -> None:
    assert [most_threads(files) for files in (1, 2, 4, 8)] == [1, 32, 64, 64]


@pytest.mark.parametrize(
    ("sizes", "files"),
    [
        ([1000] * 100, 100),
        ([LARGEST] * 100, IN_MEMORY // LARGEST),
        ([LARGEST] * 8 + [1000] * 92, 100),
        ([], 1),
    ],
)
def test_what_is_in_memory_has_a_bound(sizes: list[int], files: int) -> None:
    assert fitting(sizes) == files
