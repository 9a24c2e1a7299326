"""The Python API: three functions on the engine that the command line uses.

    >>> import modelfetch
    >>> directory = modelfetch.ensure("whisper-base")                # doctest: +SKIP
    >>> for record in modelfetch.stream("whisper-base"):             # doctest: +SKIP
    ...     print(record.event)
    >>> results = modelfetch.verify("whisper-base", repair=True)     # doctest: +SKIP

Settings are loaded as for the command: from the environment, the project's file and the user's file. Nothing
is printed. Failures raise the errors of :mod:`modelfetch.errors`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path

from modelfetch.engine.events import FileResult, ModelReady, RunFinished
from modelfetch.engine.setup import RunOptions
from modelfetch.engine.stream import Record, follow, records
from modelfetch.errors import (
    AuthorisationError,
    DeadlineError,
    IntegrityError,
    LockTimeoutError,
    ModelfetchError,
    OfflineError,
    StoreError,
    UnavailableError,
    UsageError,
)
from modelfetch.reporters.recorder import recorded
from modelfetch.workspace import Workspace

_ERRORS: dict[str, type[ModelfetchError]] = {
    error.code: error
    for error in (
        AuthorisationError,
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
) -> Path:
    """Fetch and verify a model, unless it is already in the cache.

    Args:
        name: A model of the catalogs.
        cache_dir: Root of the cache, in place of the configured one.
        offline: Do not use the network; same as ``MODELFETCH_OFFLINE=1``.
        prefer: Kind of source to try first.
        only: Kinds of sources to use; empty means all configured ones.
        force: Fetch all files again.
        timeout: Seconds for the whole run.
        lock_timeout: Seconds to wait for another process.

    Returns:
        The absolute directory of the model.

    Raises:
        UnknownModelError: No catalog has a model of this name.
        ManifestError: Its manifest is invalid.
        UsageError: An option or (as ConfigError) a setting is wrong.
        OfflineError: Files are missing and the network may not be used.
        IntegrityError: Every source that answered sent wrong bytes.
        AuthorisationError: A source requires credentials.
        UnavailableError: No source could deliver a file.
        StoreError: The disk is full, read-only or damaged, or permission is denied.
        LockTimeoutError: Another process held a lock for too long.
        DeadlineError: The time limit was reached.
    """
    options = RunOptions(
        offline=offline, prefer=prefer, only=tuple(only), timeout=timeout, lock_timeout=lock_timeout
    )
    directory: Path | None = None
    for record in stream(name, cache_dir=cache_dir, options=options, force=force):
        if isinstance(record.event, ModelReady):
            directory = Path(record.event.path)
        elif isinstance(record.event, RunFinished):
            raise_for(record.event)
    assert directory is not None, "a completed run of one model has made it ready"
    return directory


def stream(
    *names: str,
    cache_dir: str | os.PathLike[str] | None = None,
    options: RunOptions | None = None,
    force: bool = False,
) -> Generator[Record, None, None]:
    """Fetch and verify models, yielding a record for every event.

    The last record has the event :class:`~modelfetch.engine.events.RunFinished`, which reports failures; they
    are not raised. Closing the iterator cancels the run; verified data is kept.

    Args:
        names: Models of the catalogs; none means those of the project's file.
        cache_dir: Root of the cache, in place of the configured one.
        options: Options of this run that override the settings.
        force: Fetch all files again.

    Raises:
        UnknownModelError: No catalog has a model of this name.
        ManifestError: A manifest is invalid.
        UsageError: No name is given and no project's file has any; or an option or (as ConfigError) a setting
            is wrong.
    """
    workspace = _workspace(cache_dir)
    manifests = workspace.manifests(names)
    events = workspace.ensure(manifests, options or RunOptions(), force=force)
    return recorded(records(events), workspace.recorder())


def verify(
    *names: str,
    cache_dir: str | os.PathLike[str] | None = None,
    quick: bool = False,
    repair: bool = False,
    strict: bool = False,
) -> tuple[FileResult, ...]:
    """Check the files of models against their manifests.

    Args:
        names: Models of the catalogs; none means all models in the cache.
        cache_dir: Root of the cache, in place of the configured one.
        quick: Read only files whose size, time or inode changed since they were verified.
        repair: Fetch bad and missing files again.
        strict: Report files in a model's directory that its manifest does not list as failures; with
            ``repair`` they are moved to quarantine.

    Returns:
        The result of each file; all files are intact.

    Raises:
        IntegrityError: A file is bad or missing, and was not (or could not be) repaired.
        ModelfetchError: As for :func:`ensure`.
    """
    workspace = _workspace(cache_dir)
    manifests = workspace.manifests(names) if names else workspace.present()
    events = workspace.verify(manifests, RunOptions(), quick=quick, repair=repair, strict=strict)
    finished = follow(events, [workspace.recorder()])
    raise_for(finished)
    return finished.files


def raise_for(finished: RunFinished) -> None:
    """Raise the error of a run, if it failed.

    Raises:
        ModelfetchError: The error, of the class with its code.
        KeyboardInterrupt: The run was interrupted.
    """
    if finished.outcome == "cancelled":
        raise KeyboardInterrupt
    if finished.error is not None:
        error = _ERRORS.get(finished.error.code, ModelfetchError)
        raise error(finished.error.message, hint=finished.error.hint)


def _workspace(cache_dir: str | os.PathLike[str] | None) -> Workspace:
    return Workspace.open({"cache_dir": None if cache_dir is None else os.fspath(cache_dir)})
