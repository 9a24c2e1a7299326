"""Files are hashed one after the other, and all that wait have progress as long as one of them is read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modelfetch.errors import StoreError
from modelfetch.server.error_responses import Refusal
from modelfetch.server.hash_queue import HashQueue
from modelfetch.share.shared_cache import SMALL_BYTES, SharedFile
from modelfetch.store.receipt import Stamp
from tests.engine.fakes import FakeClock
from tests.patience import IN_TIME


def no_file(_path: Path) -> None:
    """Open nothing: the tests send no file."""


def file(sha256: str) -> SharedFile:
    return SharedFile(sha256, 1, Path(), Stamp(1, 0, 0), no_file)


class SteppedHashing:
    """Hashes as far as it is told: a number of bytes of the current file; None for its end."""

    def __init__(self) -> None:
        self.steps: list[int | None] = []
        self.order: list[str] = []
        self._changed = threading.Condition()
        self._done = 0

    def find(self, sha256: str, report: Callable[[int], None]) -> SharedFile | None:
        self.order.append(sha256)
        while True:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self.steps) > self._done, IN_TIME)
                step = self.steps[self._done]
                if step is not None:
                    report(step)
                self._done += 1
                self._changed.notify_all()
            if step is None:
                if sha256 == "unreadable":
                    raise StoreError("too many files are open")
                return file(sha256) if sha256 != "missing" else None

    def step(self, step: int | None) -> None:
        """Take one more step, and wait until it is done."""
        with self._changed:
            self.steps.append(step)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: len(self.steps) == self._done, IN_TIME)


@asynccontextmanager
async def queue(hashing: SteppedHashing, clock: FakeClock) -> AsyncIterator[HashQueue]:
    queue = HashQueue(hashing, clock)
    try:
        yield queue
    finally:
        queue.close()


def received(queue: HashQueue, *names: str) -> list[int]:
    return [found.received if (found := queue.progress(name)) is not None else -1 for name in names]


async def asked(queue: HashQueue, sha256: str, size: int) -> asyncio.Task[SharedFile | None]:
    task = asyncio.create_task(queue.find(sha256, size))
    await asyncio.sleep(0)  # it begins
    return task


def run(test: Callable[[HashQueue, SteppedHashing, FakeClock], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        hashing, clock = SteppedHashing(), FakeClock()
        async with queue(hashing, clock) as made:
            await test(made, hashing, clock)

    asyncio.run(whole())


def test_a_file_that_waits_for_others_has_progress_too() -> None:
    async def test(queue: HashQueue, hashing: SteppedHashing, clock: FakeClock) -> None:
        first = await asked(queue, "first", 400)
        hashing.step(100)
        second = await asked(queue, "second", 100)  # 300 of the first one, and its own, are left
        seen = [received(queue, "first", "second")]
        for step in (200, 400):
            hashing.step(step)
            seen.append(received(queue, "first", "second"))
        hashing.step(None)
        assert await first == file("first")
        seen.append(received(queue, "first", "second"))
        clock.now += 7
        hashing.step(60)
        seen.append(received(queue, "first", "second"))
        assert seen == [[100, 0], [200, 25], [400, 75], [-1, 75], [-1, 90]]
        found = queue.progress("second")
        assert found is not None
        assert (found.size, found.begun) == (100, 7.0)
        hashing.step(None)
        assert await second == file("second")
        assert hashing.order == ["first", "second"]

    run(test)


def test_a_file_that_ends_early_or_reports_more_than_its_size_takes_nothing_back() -> None:
    async def test(queue: HashQueue, hashing: SteppedHashing, _clock: FakeClock) -> None:
        missing, other = await asked(queue, "missing", 300), await asked(queue, "other", 100)
        hashing.step(None)
        assert await missing is None
        assert received(queue, "other") == [75]
        hashing.step(1000)
        assert received(queue, "other") == [100]
        hashing.step(10)  # another file that may have this digest
        assert received(queue, "other") == [100]
        hashing.step(None)
        assert await other == file("other")

    run(test)


def test_requests_for_one_file_share_its_result_and_one_that_leaves_ends_nothing() -> None:
    async def test(queue: HashQueue, hashing: SteppedHashing, _clock: FakeClock) -> None:
        tasks = [await asked(queue, "same", 0) for _ in range(3)]
        assert received(queue, "same") == [0]
        tasks[0].cancel()
        hashing.step(None)
        assert await asyncio.gather(*tasks[1:]) == [file("same")] * 2
        assert (hashing.order, queue.progress("same")) == (["same"], None)

    run(test)


def test_a_disk_that_refuses_is_a_refusal_for_each_request() -> None:
    async def test(queue: HashQueue, hashing: SteppedHashing, _: FakeClock) -> None:
        first, second = await asked(queue, "unreadable", 100), await asked(queue, "unreadable", 100)
        hashing.step(None)
        found = await asyncio.gather(first, second, return_exceptions=True)
        assert [each.status for each in found if isinstance(each, Refusal)] == [500, 500]
        assert found[0] is not found[1]

    run(test)


def test_a_small_file_does_not_wait_for_a_large_one() -> None:
    class HeldHashing:
        """Hashes the large file once the small one was hashed."""

        def __init__(self) -> None:
            self.has_hashed = threading.Event()

        def find(self, sha256: str, _report: Callable[[int], None]) -> SharedFile | None:
            if sha256 == "small":
                self.has_hashed.set()
            return file(sha256) if self.has_hashed.wait(IN_TIME) else None

    async def test() -> None:
        queue = HashQueue(HeldHashing(), FakeClock())
        large = await asked(queue, "large", SMALL_BYTES + 1)
        small = await asked(queue, "small", SMALL_BYTES)
        assert (await large, await small) == (file("large"), file("small"))
        queue.close()

    asyncio.run(test())
