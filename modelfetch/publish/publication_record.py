"""What remains of a publication: CIDs in the manifest, in the table of CIDs, and a run in the history.

The manifest is changed last, when every target has the model: a CID that no gateway has makes each fetch
slower. It is edited in place, and keeps its comments. One of the built-in catalog cannot be changed, because
it comes with the package; a copy can be written elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import ModelfetchError, StoreError, UsageError
from modelfetch.history import CidRow, RunRow
from modelfetch.lazy_dataclass import replace
from modelfetch.model.parse import BYTES_LIMIT, load_manifest
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import sanitize
from modelfetch.model.write import manifest_toml
from modelfetch.pins.rewrite import replace_unchanged, rewritten
from modelfetch.settings.replace_file import PUBLIC, replace_file
from modelfetch.signal_exit_codes import SIGINT_EXIT

if TYPE_CHECKING:
    from modelfetch.history import History
    from modelfetch.model.manifest import Manifest
    from modelfetch.publish.model_tree import ModelTree

OPERATION: Final = "publish"
_LINES_LIMIT: Final = 5
"""Most CIDs that are listed when others replace them."""


def with_cids(manifest: Manifest, tree: ModelTree) -> Manifest:
    """Return a manifest with the CIDs of the directory and of all files."""
    cids = {file.path: file.tree.root.text for file in tree.files}
    files = tuple(replace(file, cid=cids[file.path]) for file in manifest.files)
    return replace(manifest, files=files, ipfs_cid=tree.root.text)


def replaced_cids(manifest: Manifest, tree: ModelTree) -> list[str]:
    """The CIDs of a manifest that others replace, a line for each; they may be of the same bytes."""
    before = {file.path: file.cid for file in manifest.files}
    pairs = [("the directory", manifest.ipfs_cid, tree.root.text)]
    pairs += [(sanitize(file.path), before[file.path], file.tree.root.text) for file in tree.files]
    lines = [
        f"{what} had the CID {old}; now it has {new} ({tree.profile.name})"
        for what, old, new in pairs
        if old not in (None, new)
    ]
    more = len(lines) - _LINES_LIMIT
    return lines if more <= 0 else [*lines[:_LINES_LIMIT], f"and {more} more files have other CIDs now"]


def check_writable(path: Path, hint: str = "Write the manifest elsewhere: --manifest FILE.") -> None:
    """Check that a manifest can be replaced, before anything is hashed or sent.

    Args:
        path: The manifest.
        hint: What to do if it cannot.

    Raises:
        StoreError: It cannot.
    """
    where = path.resolve().parent
    nearest = next(each for each in (where, *where.parents) if each.exists())
    if not os.access(nearest, os.W_OK):
        raise StoreError(
            f"{sanitize(str(path))} cannot be written: {sanitize(str(nearest))} is not writable",
            hint=hint,
        )


def write_cids(path: Path, tree: ModelTree) -> tuple[bool, list[str]]:
    """Write the CIDs into the manifest of a catalog.

    Returns:
        Whether it was changed, and notices for the user.

    Raises:
        UsageError: The manifest was changed meanwhile, or cannot be edited without losing something.
        ManifestError: It is invalid.
        StoreError: The disk refused.
    """
    try:
        content = read_regular(path, BYTES_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {sanitize(str(path))}: {error}") from error
    manifest = load_manifest(path, content)
    pinned = {(file.path, file.sha256) for file in manifest.files}
    if pinned != {(file.path, file.placed.spec.sha256) for file in tree.files}:
        raise UsageError(
            f"{sanitize(str(path))} was changed meanwhile", hint="Run the command again: nothing is lost."
        )
    after, notices = rewritten(path, content, with_cids(manifest, tree))
    if after == content:
        return False, notices
    replace_unchanged(path, content, after)
    return True, notices


def write_copy(path: Path, manifest: Manifest, tree: ModelTree) -> None:
    """Write a manifest with the CIDs to a file of its own, which is replaced.

    Raises:
        StoreError: The disk refused.
    """
    try:
        replace_file(path, manifest_toml(with_cids(manifest, tree)).encode(), mode=PUBLIC)
    except OSError as error:
        raise StoreError(f"cannot write {sanitize(str(path))}: {error.strerror}") from error


@contextmanager
def recorded(
    history: History, manifest: Manifest, operation: str = OPERATION, *, dry_run: bool
) -> Iterator[list[ModelTree]]:
    """Record the run of a block in the history, whether it completes or fails, and the CIDs of its model.

    Args:
        history: The history, which is closed at the end.
        manifest: The model.
        operation: Name of the command.
        dry_run: Whether nothing is recorded.

    Yields:
        A list to which the block appends the blocks of the model when all targets have them.
    """
    started = datetime.now(UTC)
    trees: list[ModelTree] = []
    failure: BaseException | None = None
    try:
        yield trees
    except BaseException as error:
        failure = error
        raise
    finally:
        if not dry_run:
            now = datetime.now(UTC)
            cids = [row for tree in trees for row in _cid_rows(manifest, tree, now)]
            with history:
                history.write(runs=[_run_row(manifest, operation, started, now, failure)], cids=cids)


def _run_row(
    manifest: Manifest, operation: str, started: datetime, now: datetime, failure: BaseException | None
) -> RunRow:
    outcome, exit_code, error = _end(failure)
    return RunRow(
        run=os.urandom(6).hex(),
        operation=operation,
        models=(manifest.name,),
        started_at=started,
        finished_at=now,
        outcome=outcome,
        exit_code=exit_code,
        fetched=0,
        error=error,
        seconds=(now - started).total_seconds(),
    )


def _end(failure: BaseException | None) -> tuple[str, int, str]:
    """Outcome, exit code and error of a run."""
    match failure:
        case None:
            return "completed", 0, ""
        case ModelfetchError():
            return "failed", failure.exit_code, failure.message
        case KeyboardInterrupt():  # that of a signal other than SIGINT has an exit code of its own
            return "cancelled", getattr(failure, "exit_code", SIGINT_EXIT), ""
        case _:
            return "failed", ModelfetchError.exit_code, type(failure).__name__


def _cid_rows(manifest: Manifest, tree: ModelTree, now: datetime) -> Sequence[CidRow]:
    rows = [
        CidRow(
            file.tree.root.text,
            file.placed.spec.sha256,
            manifest.name,
            file.path,
            now,
            successes=0,
            failures=0,
        )
        for file in tree.files
    ]
    return [CidRow(tree.root.text, "", manifest.name, "", now, successes=0, failures=0), *rows]
