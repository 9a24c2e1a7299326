"""What peers are told about files that are being fetched: how far, for how long, and at what cost."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import pytest

from modelfetch.server import fetch_progress, share_blobs
from modelfetch.server.error_responses import Refusal
from modelfetch.server.fetch_progress import LONGEST_SECONDS, FetchProgress, preferred_wait
from modelfetch.server.share_blobs import HASH_SECONDS
from modelfetch.sources import peer
from modelfetch.store import Store
from modelfetch.store.in_progress import InProgress
from modelfetch.store.instance import instance_of, is_instance
from tests.engine.fakes import spec
from tests.patience import HELD, IN_TIME
from tests.server.running import until
from tests.server.sharing import LARGE, MIB, Sharing, content, sharing_server

DATA = content(LARGE)
FILE = spec("a", DATA)
ASYNC = "respond-async, wait=0"
LONG = f"respond-async, wait={HELD:.0f}"


@pytest.fixture
def sharing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sharing]:
    """A server that holds answers back for as long as a busy machine takes for what they wait for."""
    monkeypatch.setattr(share_blobs, "HASH_SECONDS", HELD)
    monkeypatch.setattr(fetch_progress, "LONGEST_SECONDS", HELD)
    with sharing_server(tmp_path) as sharing:
        yield sharing


@pytest.fixture
def store(sharing: Sharing) -> Store:
    return Store(sharing.cache, fsync=False)


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", None),
        ("wait=5", None),
        ("return=minimal", None),
        ("not-respond-async", None),
        ("respond-async=1", None),
        ("respond-async", 0.0),
        ("respond-async, wait=2", 2.0),
        ("wait=2, respond-async", 2.0),
        ('Respond-Async; WAIT="3"', 3.0),
        ("return=minimal,respond-async,wait=4,x", 4.0),
        ("respond-async, wait=999999999", LONGEST_SECONDS),
        ("respond-async, wait=9999999999", 0.0),
        ("respond-async, wait=-1", 0.0),
        ("respond-async, wait=1e3", 0.0),
    ],
)
def test_preferences_are_read_as_rfc_7240_says(prefer: str, seconds: float | None) -> None:
    assert preferred_wait(prefer) == seconds


def test_a_client_that_does_not_prefer_it_gets_404(sharing: Sharing, store: Store) -> None:
    with store.lock_blob(FILE.sha256) as lock:
        assert lock.try_acquire()
        answer = sharing.get_blob(FILE.sha256)
    assert answer.status == 404
    assert "x-modelfetch-instance" not in answer.headers


def test_a_file_that_nobody_fetches_is_404(sharing: Sharing) -> None:
    answer = sharing.get_blob(FILE.sha256, Prefer="respond-async, wait=5")
    assert answer.status == 404
    assert answer.headers["x-modelfetch-instance"] == instance_of(sharing.cache)


def test_a_file_that_is_being_fetched_is_202_with_its_progress(sharing: Sharing, store: Store) -> None:
    with store.lock_blob(FILE.sha256) as lock:
        assert lock.try_acquire()
        with store.partial(FILE, True) as partial:
            partial.put(0, DATA[:MIB], "mirror a.example")
            answer = sharing.get_blob(FILE.sha256, Prefer=ASYNC)
            assert answer.status == 202
            assert answer.headers["preference-applied"] == "respond-async"
            assert answer.headers["cache-control"] == "no-store"
            assert is_instance(answer.headers["x-modelfetch-instance"])
            document = json.loads(answer.body)
            assert document["size"] == LARGE
            assert MIB <= document["received"] <= LARGE
            assert 0 <= document["begun"] < IN_TIME


def test_one_that_asks_others_has_not_begun(sharing: Sharing, store: Store) -> None:
    lock = store.lock_blob(FILE.sha256)
    lock.is_asking = True
    with lock:
        assert lock.try_acquire()
        answer = sharing.get_blob(FILE.sha256, Prefer=ASYNC)
    assert json.loads(answer.body) == {"received": 0, "size": 0, "begun": None, "available": []}


def test_a_file_that_is_here_is_sent(sharing: Sharing) -> None:
    digest = sharing.put(DATA)
    answer = sharing.get_blob(digest, Prefer=ASYNC, Range="bytes=0-0")
    assert (answer.status, answer.body) == (206, DATA[:1])
    assert answer.headers["content-range"] == f"bytes 0-0/{LARGE}"
    assert is_instance(answer.headers["x-modelfetch-instance"])


def test_the_answer_is_held_back_until_the_file_is_there(
    sharing: Sharing, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_progress, "LOOK_SECONDS", 0.02)
    lock = store.lock_blob(FILE.sha256)
    assert lock.try_acquire()

    with ThreadPoolExecutor(1) as clients:
        asked = clients.submit(sharing.get_blob, FILE.sha256, Prefer=LONG)
        until(lambda: sharing.share_state.waiting.count == 1, "the request")
        sharing.put(DATA)
        lock.release()
        answer = asked.result()
    assert (answer.status, answer.body == DATA) == (200, True)


def test_the_answer_is_404_once_the_process_gave_up(
    sharing: Sharing, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_progress, "LOOK_SECONDS", 0.02)
    lock = store.lock_blob(FILE.sha256)
    assert lock.try_acquire()
    with ThreadPoolExecutor(1) as clients:
        asked = clients.submit(sharing.get_blob, FILE.sha256, Prefer=LONG)
        until(lambda: sharing.share_state.waiting.count == 1, "the request")
        lock.release()
        began = time.monotonic()
        assert asked.result().status == 404
    assert time.monotonic() - began < IN_TIME


@pytest.mark.slow
def test_it_is_held_back_no_longer_than_preferred(sharing: Sharing, store: Store) -> None:
    with store.lock_blob(FILE.sha256) as lock:
        assert lock.try_acquire()
        began = time.monotonic()
        assert sharing.get_blob(FILE.sha256, Prefer="respond-async, wait=1").status == 202
        assert 1.0 <= time.monotonic() - began < IN_TIME


def test_a_blob_that_has_to_be_hashed_is_on_its_way(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_blobs, "HASH_SECONDS", 0.1)
    digest, cache = sharing.put(DATA), sharing.share_state.cache
    find, half, go = cache.find, threading.Event(), threading.Event()

    def slowly(sha256: str, report: Callable[[int], None]) -> object:
        report(len(DATA) // 2)
        half.set()
        go.wait(IN_TIME)
        return find(sha256)

    monkeypatch.setattr(cache, "find", slowly)
    assert sharing.get_blob(digest, Prefer=ASYNC).status == 202
    assert half.wait(IN_TIME)
    answer = sharing.get_blob(digest, Prefer=ASYNC)
    found = json.loads(answer.body)
    assert (answer.status, found["received"], found["size"]) == (202, len(DATA) // 2, len(DATA))
    assert found["begun"] > 0, "a peer waits for one that has begun"
    go.set()
    assert sharing.get_blob(digest, Prefer=LONG).status == 200


def test_what_a_slow_disk_does_not_have_is_not_said_to_be_on_its_way(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_blobs, "HASH_SECONDS", 0.0)
    assert sharing.get_blob(FILE.sha256, Prefer=ASYNC).status == 404


def test_the_answer_that_a_blob_is_hashed_is_not_late_for_a_peer() -> None:
    """After four late answers the server would be given up for the run."""
    assert HASH_SECONDS < peer.SLOW_SECONDS


@pytest.mark.parametrize("digest", ["x", "0" * 63, "0" * 65, "%2e%2e", "A" * 64])
def test_what_is_no_digest_is_404(digest: str, sharing: Sharing) -> None:
    assert sharing.get_blob(digest, Prefer="respond-async, wait=5").status == 404


# Waiting


class Looked:
    """Answers looks in turn, the last one for ever; counts them."""

    def __init__(self, *answers: InProgress | Exception | None) -> None:
        self.answers = answers
        self.count = 0

    async def __call__(self, _sha256: str) -> InProgress | None:
        self.count += 1
        answer = self.answers[min(self.count, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


PROGRESS = InProgress(1, 2, 3.0)


def test_many_requests_for_one_file_look_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_progress, "LOOK_SECONDS", 0.005)
    look = Looked(*[PROGRESS] * 60, None)

    async def main() -> list[InProgress | None]:
        waits = FetchProgress(look)
        found = await asyncio.gather(*(waits.wait("a", IN_TIME) for _ in range(50)))
        assert not waits._watches
        return found

    assert asyncio.run(main()) == [None] * 50
    assert look.count <= 62


def test_a_request_that_is_cancelled_leaves_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_progress, "LOOK_SECONDS", 0.01)

    async def main() -> None:
        waits = FetchProgress(Looked(*[PROGRESS] * 20, None))
        one, other = (asyncio.create_task(waits.wait("a", IN_TIME)) for _ in range(2))
        await asyncio.sleep(0.02)
        one.cancel()
        assert await other is None
        assert not waits._watches

    asyncio.run(main())


def test_a_look_that_fails_ends_all_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_progress, "LOOK_SECONDS", 0.005)
    failure = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "disk", "this server cannot read its cache")

    async def main() -> list[InProgress | BaseException | None]:
        waits = FetchProgress(Looked(*[PROGRESS] * 5, failure, PROGRESS, PROGRESS, None))
        found = await asyncio.gather(*(waits.wait("a", IN_TIME) for _ in range(3)), return_exceptions=True)
        assert await waits.wait("a", IN_TIME) is None
        return found

    refusals = asyncio.run(main())
    assert [str(each) for each in refusals] == [str(failure)] * 3
    assert len({*map(id, refusals)}) == 3


def test_a_bug_in_a_look_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_progress, "LOOK_SECONDS", 0.005)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(FetchProgress(Looked(PROGRESS, ZeroDivisionError())).wait("a", IN_TIME))


def test_the_disk_is_looked_at_in_the_threads_for_that(sharing: Sharing, store: Store) -> None:
    def others() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name.startswith("asyncio_")}

    before = others()
    with store.lock_blob(FILE.sha256) as lock:
        assert lock.try_acquire()
        assert sharing.get_blob(FILE.sha256, Prefer="respond-async, wait=1").status == 202
    assert others() <= before


def test_a_cache_that_is_made_after_the_start_has_the_name_that_runs_see(sharing: Sharing) -> None:
    def name() -> str:
        return sharing.get_blob(FILE.sha256, Prefer=ASYNC).headers["x-modelfetch-instance"]

    before = name()
    sharing.cache.mkdir()
    assert name() == instance_of(sharing.cache) != before


def test_too_many_requests_do_not_wait(
    sharing: Sharing, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing.share_state.waiting._limit, "most", 0)
    with store.lock_blob(FILE.sha256) as lock:
        assert lock.try_acquire()
        began = time.monotonic()
        assert sharing.get_blob(FILE.sha256, Prefer=LONG).status == 202
        assert time.monotonic() - began < IN_TIME
