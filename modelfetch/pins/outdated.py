"""Asks the upstreams of pins, once each, what they have now. Nothing is upgraded and no file is fetched.

A reference such as ``hf:org/repo@main`` is resolved again, to a revision and a listing. The listing is
reduced by the patterns of the pin, and compared with it (:mod:`modelfetch.pins.comparison`). Several
upstreams are asked at the same time, and a failure of one does not hide the others.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from modelfetch.errors import ModelfetchError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.pins.comparison import Comparison, compare
from modelfetch.pins.upstream_state import shown_ref
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.history import CheckRow
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.pins.comparison import BlobId
    from modelfetch.pins.pin import UpstreamFor
    from modelfetch.store import Store
    from modelfetch.upstreams.base import Listing, UpstreamFile
    from modelfetch.workspace import Workspace

PARALLEL: Final = 8
"""Upstreams that are asked at the same time: each waits for its hub most of the time."""
MAX_HASHED_BYTES: Final = 16 << 20
"""Largest file whose git blob id is computed. Larger ones are in LFS, whose SHA-256 the hub states."""

Outcome = Literal["current", "moved", "failed", "untracked"]
Parse = Callable[[str], "Reference"]


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of one check."""

    manifest: Manifest
    outcome: Outcome
    """``untracked``: the manifest names no upstream."""
    revision: str = ""
    """The revision that the upstream has now; empty if it has none, or was not reached."""
    comparison: Comparison | None = None
    error: ModelfetchError | None = None
    notices: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The result as JSON."""
        error = self.error
        return {
            "name": self.manifest.name,
            "version": self.manifest.version,
            "ref": shown_ref(self.manifest) or None,
            "state": self.outcome,
            "pinned_revision": pinned_revision(self.manifest),
            "revision": self.revision,
            **({} if self.comparison is None else self.comparison.document),
            "error": error and {"code": error.code, "message": error.message, "hint": error.hint},
        }

    def row(self, now: datetime) -> CheckRow | None:
        """What the history keeps of it; None for a manifest without an upstream."""
        from modelfetch.history import CheckRow

        origin = self.manifest.upstream
        if origin is None:
            return None
        is_failed = self.error is not None
        return CheckRow(
            origin.ref,
            self.manifest.identity,
            None if is_failed else now,
            self.outcome == "moved",
            self.revision,
            now if is_failed else None,
            self.error.message if self.error else "",
        )


def check_pins(
    manifests: Sequence[Manifest], upstream_for: UpstreamFor, parse: Parse, blob_id: BlobId
) -> list[Checked]:
    """Ask the upstream of each pin what it has now.

    Args:
        manifests: The pins.
        upstream_for: Returns the upstream of a reference. It is called from several threads.
        parse: Parses a reference.
        blob_id: Returns the git blob id of pinned bytes.

    Returns:
        One result for each manifest, in their order.

    Raises:
        Cancelled: The run was cancelled.
    """
    return _in_parallel(lambda manifest: check_pin(manifest, upstream_for, parse, blob_id), manifests)


def check_pin(manifest: Manifest, upstream_for: UpstreamFor, parse: Parse, blob_id: BlobId) -> Checked:
    """Ask the upstream of one pin what it has now; an error of the package is part of the result."""
    if manifest.upstream is None:
        return Checked(manifest, "untracked")
    try:
        reference = parse(manifest.upstream.ref)
        listing = upstream_for(reference).resolve(reference)
        if is_pinned_revision(manifest, listing):
            same = Comparison((), len(manifest.files), 0)
            return Checked(manifest, "current", listing.revision, same, notices=listing.notices)
        comparison = compare(manifest, selected(manifest, listing), blob_id)
    except ModelfetchError as error:
        return Checked(manifest, "failed", error=error)
    # A file without a digest to compare may have changed if the revision did. Without revisions, as behind
    # a plain URL, it would be reported at every check, so the size has to do.
    is_moved = bool(comparison.changes or (listing.revision and comparison.uncompared))
    outcome: Outcome = "moved" if is_moved else "current"
    return Checked(manifest, outcome, listing.revision, comparison, notices=listing.notices)


def selected(manifest: Manifest, listing: Listing) -> list[UpstreamFile]:
    """Reduce a listing to the files that the pin would have now.

    Raises:
        UsageError: The patterns of the pin match nothing any more, or the paths cannot be used.
        UnavailableError: The listing contradicts itself.
    """
    from modelfetch.pins.combine import unique_files
    from modelfetch.pins.select import Patterns, select

    origin = manifest.upstream
    patterns = Patterns(origin.include, origin.exclude, is_repeat=True) if origin else Patterns()
    return select(listing, unique_files(listing), patterns)


def pinned_revision(manifest: Manifest) -> str:
    """Return the revision that a manifest pins; its version if no hub of it has revisions."""
    repo = manifest.huggingface or manifest.modelscope
    return repo.revision if repo is not None else manifest.version


def is_pinned_revision(manifest: Manifest, listing: Listing) -> bool:
    """Whether a listing is of the very revision that is pinned, so that nothing has to be compared.

    A branch or tag of ModelScope is no immutable revision, so an equal name proves nothing.
    """
    found = listing.revision
    if len(found.removeprefix("sha256:")) < _SHORTEST_REVISION:
        return False
    repos = (manifest.huggingface, manifest.modelscope)
    if any(repo is not None and repo.revision == found for repo in repos):
        return True
    # `add` takes the first 12 characters of a revision as the version.
    version = manifest.version
    return len(version) == _VERSION and found.removeprefix("sha256:").startswith(version)


_SHORTEST_REVISION: Final = 40
"""Hexadecimal digits of a commit; a digest has more."""
_VERSION: Final = 12


def git_blob_ids(store: Store) -> BlobId:
    """Return a function for the git blob ids of files whose bytes are in a cache."""

    def blob_id(file: FileSpec) -> str | None:
        path = store.find_blob(file) if file.size <= MAX_HASHED_BYTES else None
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except OSError:  # removed meanwhile, or not readable: the file is not compared
            return None
        if not file.is_pinned(hashlib.sha256(content).hexdigest(), len(content)):
            return None  # damaged: `verify` reports it
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

    return blob_id


def record(workspace: Workspace, results: Sequence[Checked]) -> None:
    """Record checks in the history, for what ``list`` and the server show; it never fails."""
    now = datetime.now(UTC)
    _write(workspace, [row for result in results if (row := result.row(now)) is not None])


def record_pinned(workspace: Workspace, manifest: Manifest) -> None:
    """Record that a pin is what its upstream has now, as after ``add`` and ``upgrade``; it never fails."""
    record(workspace, [Checked(manifest, "current", pinned_revision(manifest))])


def _write(workspace: Workspace, rows: Sequence[CheckRow]) -> None:
    if rows:
        with workspace.history() as history:
            history.write(checks=rows)


def _in_parallel(work: Callable[[Manifest], Checked], manifests: Sequence[Manifest]) -> list[Checked]:
    """Map manifests in several threads, this one among them, so that one is enough if no more can start."""
    results: dict[int, Checked] = {}
    failures: list[BaseException] = []
    waiting = iter(enumerate(manifests))
    lock = threading.Lock()

    def run() -> None:
        while not failures:
            with lock:
                number, manifest = next(waiting, (-1, None))
            if manifest is None:
                return
            try:
                results[number] = work(manifest)
            except BaseException as failure:  # raised below, in the thread of the caller
                failures.append(failure)

    started = [start(run, "outdated") for _ in range(min(PARALLEL, len(manifests)) - 1)]
    run()
    for thread in started:
        if thread is not None and not failures:  # else, as after Ctrl-C, nothing is worth waiting for
            thread.join()
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(manifests))]
