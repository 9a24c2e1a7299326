"""Fetch some files of a model, without the others: what a cache does that fetches on request.

Each file is fetched as in a run of :mod:`modelfetch.engine.ensure`: locked by its digest, from all sources,
verified, committed and placed in the directory of its model. What differs, and why:

* the lock of the model is not taken, so that requests for its other files do not wait for a large one. The
  directory is claimed like one whose lock does not work: no existing file in it is replaced;
* no receipt is written and no model is reported ready, because other files may be missing. A later ``ensure``
  verifies the files that are there, fetches the others, and writes the receipt.

The events are those of ``ensure``, without ``model_ready``; the plan lists the requested files only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from modelfetch.engine.disk_check import check_disk
from modelfetch.engine.events import Event, FileKept, FileResult
from modelfetch.engine.failures import worst
from modelfetch.engine.file import FileDone, Mode, flatten, obtain_alone
from modelfetch.engine.parts import label_of
from modelfetch.engine.plan import Holdings, Inventory, Job, planned, take_inventory
from modelfetch.engine.progress import Deadline, with_heartbeat
from modelfetch.engine.workers import merge
from modelfetch.errors import ModelfetchError, StoreError, UsageError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.source_kinds import CACHE
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec, Manifest


class SingleFilesRun:
    """The state of one run: how each file ended. Used by one thread only.

    Args:
        runtime: Of the run.
        manifest: The model.
        paths: Paths of its files.
    """

    def __init__(self, runtime: Runtime, manifest: Manifest, paths: Collection[str]) -> None:
        self._runtime = runtime
        self._manifest = manifest
        self._paths = frozenset(paths)
        self._sources: dict[str, str] = {}
        self._errors: dict[str, ModelfetchError] = {}

    def events(self) -> Iterator[Event]:
        """Make the files present and verified; yields the events between the first and the last one.

        Raises:
            ModelfetchError: A file could not be fetched, or the model has no such file.
            Cancelled: The run was cancelled.
        """
        if unknown := self._paths.difference(file.path for file in self._manifest.files):
            raise UsageError(f"{self._manifest.name} has no file {quote(min(unknown))}")
        self._runtime.store.claim(self._manifest, exclusive=False)
        inventory = replace(take_inventory(self._runtime, self._manifest), wanted=self._paths)
        yield planned(self._runtime, inventory)
        for file in inventory.files:
            if file.path in inventory.kept:
                self._sources[file.path] = CACHE
                yield FileKept(self._manifest.name, file.path, file.size)
        yield from self._obtain(inventory)
        if self._errors:
            raise worst(list(self._errors.values()))

    def _obtain(self, inventory: Inventory) -> Iterator[Event]:
        runtime, missing = self._runtime, inventory.missing
        holdings = Holdings(runtime.store)
        needed = sum(file.size - holdings.of(self._manifest, file) for file in missing)
        check_disk(runtime, needed, ((self._manifest, file) for file in missing))
        # One task after the other for equal digests: the lock of the digest sees to that.
        tasks = [obtain_alone(runtime, Job(((self._manifest, file),)), Mode()) for file in missing]
        deadline = Deadline(runtime)
        with closing(merge(tasks, runtime.files, runtime.cancel)) as merged:
            for item in with_heartbeat(flatten(merged), runtime.clock, runtime.positions, runtime.requests):
                if isinstance(item, FileDone):
                    self._account(item)
                    continue
                deadline.check(item)
                if item is not None:
                    yield item

    def _account(self, done: FileDone) -> None:
        """Note how a file ended."""
        if isinstance(done.error, StoreError):
            raise done.error  # further files would fail in the same way
        if done.error is not None:
            self._errors[done.file] = done.error
        elif done.obtained is not None:
            self._sources[done.file] = label_of(done.obtained.source, done.obtained.host)

    def results(self, reason: str) -> list[FileResult]:
        """How every requested file ended.

        Args:
            reason: The code of the failure that ended the run, for cancelled files.
        """
        files = (file for file in self._manifest.files if file.path in self._paths)
        return [self._result(file, reason) for file in files]

    def _result(self, file: FileSpec, reason: str) -> FileResult:
        model, path, size = self._manifest.name, file.path, file.size
        if path in self._sources:
            return FileResult(model, path, "completed", "", self._sources[path], size)
        if path in self._errors:
            return FileResult(model, path, "failed", self._errors[path].code, "", size)
        return FileResult(model, path, "cancelled", reason, "", size)
