"""The Python interface: three functions over the engine that the command line uses too.

    >>> import modelfetch
    >>> directory = modelfetch.ensure("whisper-base")                # doctest: +SKIP
    >>> for record in modelfetch.stream("whisper-base"):             # doctest: +SKIP
    ...     print(record.event)
    >>> results = modelfetch.verify("whisper-base", repair=True)     # doctest: +SKIP

Settings come from the same places as for the command: project file, environment, the user's file. Nothing is
printed, except with ``progress=True``. Failures are raised as the errors of :mod:`modelfetch.errors`.

The functions block. Any thread may call them, and asynchronous code with ``asyncio.to_thread``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.engine.events import FileResult, ModelReady, RunFinished
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.setup import RunOptions
from modelfetch.engine.stream import Record, follow, records
from modelfetch.errors import (
    AuthorizationError,
    DeadlineError,
    IntegrityError,
    LockTimeoutError,
    ModelfetchError,
    OfflineError,
    StoreError,
    UnavailableError,
    UsageError,
)
from modelfetch.model.paths import is_reference
from modelfetch.reporters.recorder import recorded
from modelfetch.workspace import Workspace

if TYPE_CHECKING:
    from modelfetch.engine.stream import Reporter

__all__ = ["Record", "RunOptions", "ensure", "raise_for", "stream", "verify"]

_ERRORS: dict[str, type[ModelfetchError]] = {
    error.code: error
    for error in (
        AuthorizationError,
        DeadlineError,
        IntegrityError,
        LockTimeoutError,
        OfflineError,
        StoreError,
        UnavailableError,
        UsageError,
    )
}


def ensure(
    name: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    prefer: str | None = None,
    only: Sequence[str] = (),
    force: bool = False,
    timeout: float | None = None,
    lock_timeout: float | None = None,
    progress: bool = False,
) -> Path:
    """Make a model present and verified.

    A reference that is new is pinned first, in the user's catalog; from then on it needs no request, like any
    other name.

    Args:
        name: A model of the catalogs, or a reference such as ``hf:org/repo``.
        cache_dir: Root of the cache, instead of the configured one.
        offline: Use files on this disk only, as with ``MODELFETCH_OFFLINE=1``.
        prefer: Kind of source to ask first.
        only: Kinds of source that may be used; empty means all configured ones.
        force: Fetch every file again.
        timeout: Seconds for the whole run; None for no limit.
        lock_timeout: Seconds to wait for a lock of another process; None for no limit.
        progress: Whether to show the run: as bars in a terminal or a notebook, else as lines on stderr. If
            all files are present, that is one line with the result.

    Returns:
        The absolute directory of the model.

    Raises:
        UnknownModelError: No catalog has a model of this name, or a reference names nothing.
        ManifestError: Its manifest is wrong.
        UsageError: An option or (as ConfigError) a setting is wrong; or a reference cannot be pinned as it
            is: several variants are a :class:`~modelfetch.pins.variants.VariantsError`.
        OfflineError: Files are missing, or a reference is new, and the network may not be used.
        IntegrityError: Every source that answered sent wrong bytes.
        AuthorizationError: A source requires credentials.
        UnavailableError: No source could deliver a file.
        StoreError: The disk refused.
        LockTimeoutError: Another process held a lock for too long.
        DeadlineError: The time limit was reached.
    """
    run = RunOptions(offline, prefer, tuple(only), timeout, lock_timeout)
    if is_reference(name):
        name = _pinned_name(name, cache_dir, offline=offline)
    workspace = Workspace.open(_settings(cache_dir))
    events = workspace.ensure(workspace.manifests([name]), EnsureOptions(_settings(cache_dir), run, force))
    ready = _Ready()
    raise_for(follow(events, [*_shown(workspace, progress=progress), ready, workspace.recorder()]))
    assert ready.directory is not None, "a completed run of one model made it ready"
    return ready.directory


class _Ready:
    """A reporter that keeps the directory of the model that became ready."""

    def __init__(self) -> None:
        self.directory: Path | None = None

    def report(self, record: Record) -> None:
        if isinstance(record.event, ModelReady):
            self.directory = Path(record.event.path)

    def close(self) -> None:
        pass


def _shown(workspace: Workspace, *, progress: bool) -> tuple[Reporter, ...]:
    """Return what shows the progress of a run, if anything should."""
    if not progress or sys.stderr is None:  # None in a program without a console, as with pythonw.exe
        return ()
    from modelfetch.reporters import choose

    return choose(
        json=False,
        quiet=False,
        stdout=sys.stdout,
        stderr=sys.stderr,
        environ=os.environ,
        notices=workspace.notices,
        may_be_notebook=True,
    )


def _pinned_name(reference: str, cache_dir: str | os.PathLike[str] | None, *, offline: bool) -> str:
    """Return the name that a reference is pinned under; one that is new is pinned."""
    from modelfetch.pins.add import all_pinned, ensure_pinned, pinned_names

    workspace = Workspace.open(_settings(cache_dir))
    if all_pinned(workspace, [reference]):
        return pinned_names(workspace, [reference])[0]
    from modelfetch.pins.session import open_session

    with open_session(workspace, offline=offline) as session:
        return ensure_pinned(session, [reference])[0][0]


def stream(
    *names: str,
    cache_dir: str | os.PathLike[str] | None = None,
    options: RunOptions | None = None,
    force: bool = False,
) -> Generator[Record, None, None]:
    """Make models present and verified, and yield a record of every event.

    The last record holds the one :class:`~modelfetch.engine.events.RunFinished`; failures are reported there
    and not raised (:func:`raise_for` does that). Closing the iterator cancels the run; verified bytes stay on
    disk. While a file is fetched a record comes at least every second, so a loop can look at a flag that
    another thread sets, and close the iterator.

    Args:
        names: Models of the catalogs, or references that are pinned; the project's when empty.
        cache_dir: Root of the cache, instead of the configured one.
        options: What this run asks for beyond the settings.
        force: Fetch every file again.

    Raises:
        UnknownModelError: No catalog has a model of this name.
        ManifestError: A manifest is wrong.
        UsageError: No name is given and no project names any; or an option or (as ConfigError) a setting is
            wrong.
    """
    return _stream(names, EnsureOptions(_settings(cache_dir), options or RunOptions(), force))


def _stream(names: Sequence[str], options: EnsureOptions) -> Generator[Record, None, None]:
    workspace = Workspace.open(options.settings)
    names = _names(workspace, names)
    events = workspace.ensure(workspace.manifests(names), options)
    return recorded(records(events), workspace.recorder())


def verify(
    *names: str,
    cache_dir: str | os.PathLike[str] | None = None,
    quick: bool = False,
    repair: bool = False,
    strict: bool = False,
    options: RunOptions | None = None,
    progress: bool = False,
) -> tuple[FileResult, ...]:
    """Check the files of models against their manifests.

    Args:
        names: Models of the catalogs, or references that are pinned; all that are present when empty.
        cache_dir: Root of the cache, instead of the configured one.
        quick: Read only files whose size, time or inode changed since they were verified.
        repair: Fetch bad and missing files again.
        strict: Count files in a model's directory that its manifest does not list as failures; with
            ``repair`` they are put into quarantine.
        options: What this run asks for beyond the settings; sources and ``offline`` matter with ``repair``.
        progress: As for :func:`ensure`.

    Returns:
        The result of each file; all of them are good.

    Raises:
        IntegrityError: A file is bad or missing, and was not (or could not be) repaired.
        ModelfetchError: As for :func:`ensure`.
    """
    workspace = Workspace.open(_settings(cache_dir))
    manifests = workspace.manifests(_names(workspace, names)) if names else workspace.present()
    options = options or RunOptions()
    events = workspace.verify(manifests, options, quick=quick, repair=repair, strict=strict)
    finished = follow(events, [*_shown(workspace, progress=progress), workspace.recorder()])
    raise_for(finished)
    return finished.files


def _names(workspace: Workspace, words: Sequence[str]) -> Sequence[str]:
    """Replace each reference by the name that it is pinned under."""
    if not any(map(is_reference, words)):
        return words
    from modelfetch.pins.add import pinned_names

    return pinned_names(workspace, words)


def raise_for(finished: RunFinished) -> None:
    """Raise the error that a run ended with, if any.

    Raises:
        ModelfetchError: Of the class that the error's code stands for.
        KeyboardInterrupt: The run was interrupted.
    """
    if finished.outcome == "cancelled":
        raise KeyboardInterrupt
    if finished.error is not None:
        error = _ERRORS.get(finished.error.code, ModelfetchError)
        raise error(finished.error.message, hint=finished.error.hint)


def _settings(cache_dir: str | os.PathLike[str] | None) -> dict[str, object]:
    return {"cache_dir": None if cache_dir is None else os.fspath(cache_dir)}
