"""The errors and events that the failures of sources become. Pure functions.

:func:`file_error` makes one error of all sources of a file, and :func:`worst` one error of all files, which
the run ends with. The other functions make the events that a transfer reports about its sources.

Example: two files failed, one at three mirrors without a network, the other for a full disk. The run ends
with the error of the disk, "(and 1 more file)".
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.cancel import Cancelled
from modelfetch.engine.events import (
    ErrorInfo,
    FileQuarantined,
    FileResult,
    Progress,
    RetryScheduled,
    RunFinished,
    SourceFailed,
)
from modelfetch.errors import (
    AuthorizationError,
    DeadlineError,
    Fault,
    IntegrityError,
    LockTimeoutError,
    ModelfetchError,
    OfflineError,
    SourceError,
    StoreError,
    UnavailableError,
)
from modelfetch.model.source_kinds import SWARM, SourceKind
from modelfetch.net.responses import Unresolved
from modelfetch.signal_exit_codes import SIGINT_EXIT

if TYPE_CHECKING:
    from modelfetch.engine.candidates import Candidate
    from modelfetch.engine.events import Part
    from modelfetch.model.manifest import FileSpec

Failure = ModelfetchError | Cancelled
"""Exceptions that may end a run early; any other one is a bug."""

# The order in which the error of a run is chosen when files failed in different ways: the user must repair
# the first ones here, while the last ones may pass.
_GRAVITY: Final[tuple[type[ModelfetchError], ...]] = (
    StoreError,
    DeadlineError,
    LockTimeoutError,
    IntegrityError,
    AuthorizationError,
    UnavailableError,
    OfflineError,
)

_NETWORK: Final = "Check the network (and HTTPS_PROXY), then try again; fetched data is kept."
_SERVER: Final = "Check that the server runs, and its port, then try again; fetched data is kept."


class Exhausted(ModelfetchError):  # noqa: N818 - the state of the sources, made an error by its caller
    """Every source of one file failed.

    Attributes:
        failures: The label (``kind host``) and last failure of each source, in the order in which they were
            discarded.
    """

    def __init__(self, failures: list[tuple[str, SourceError]]) -> None:
        super().__init__("; ".join(f"{label}: {_in_full(error)}" for label, error in failures))
        self.failures = failures


def _in_full(error: SourceError) -> str:
    """Return the message of an error with the host it was redirected to and its details."""
    more = ", ".join(filter(None, (error.elsewhere, error.detail)))
    return f"{error.message} ({more})" if more else error.message


class UnreachableError(UnavailableError):
    """No host of a file, or of a whole run, was reached.

    Args:
        models: Names of the models whose files are missing.
        failures: Why each host was not reached, by host.
    """

    def __init__(self, models: Collection[str], failures: Mapping[str, SourceError]) -> None:
        hint = _hint(failures.values(), _NETWORK if _is_network(failures.values()) else _SERVER)
        super().__init__(f"{', '.join(models)}: {_unreached(models, failures)}", hint=hint)
        self.models = tuple(models)
        self.failures = dict(failures)


def _unreached(models: Collection[str], failures: Mapping[str, SourceError]) -> str:
    """Return the reason of :class:`UnreachableError`, with the failure of the first host as an example."""
    host, error = next(iter(failures.items()))
    host = error.elsewhere or host
    why = f"cannot resolve {host}" if isinstance(error, Unresolved) else f"{host}: {error.message}"
    if len(failures) == 1:
        reason = f"its only host cannot be reached ({why})"
    else:
        whose = "its" if len(models) == 1 else "their"
        reason = f"none of {whose} {len(failures)} hosts can be reached ({why}, ...)"
    return f"{reason}: is this machine online?" if _is_network(failures.values()) else reason


def _is_network(errors: Iterable[SourceError]) -> bool:
    """Whether one points at the network of this machine: a name lookup, or a connection without an answer.

    A refusal (``ECONNREFUSED``) came from the host, so the network works.
    """
    failed = (error for error in errors if error.fault is Fault.CONNECT)
    return any(not error.message.startswith("connection refused") for error in failed)


def file_error(
    model: str, path: str, exhausted: Exhausted, *, offline: bool, has_peers: bool = False
) -> ModelfetchError:
    """Return the error of a file that no source delivered: every source asked, and why it failed.

    Args:
        model: Name of the model.
        path: Path of the file in the model.
        exhausted: The failure of each source.
        offline: Whether the network may not be used.
        has_peers: Whether peers were asked; one that lacks the file or does not answer is no source of it.
    """
    what = f"{model}: {path}"
    if offline:
        return OfflineError(
            f"{what} is missing or damaged, and the network may not be used",
            hint="Run once without --offline (and without MODELFETCH_OFFLINE or HF_HUB_OFFLINE) to fetch it.",
        )
    if not exhausted.failures and has_peers:
        return UnavailableError(
            f"{what}: no peer that answers has it, and no other source is known for it",
            hint="A peer needs the file, and `modelfetch serve --share`: `modelfetch -v ensure` shows what "
            "each answered; with --only, allow more kinds.",
        )
    if not exhausted.failures:
        return UnavailableError(
            f"{what}: no source is known for it",
            hint="Name the directory that has the files in sources.local, or a machine that shares them in "
            "sources.peers, configure a mirror, or add sources to its manifest; with --only, allow more "
            "kinds.",
        )
    return _sources_error(model, what, exhausted)


def _sources_error(model: str, what: str, exhausted: Exhausted) -> ModelfetchError:
    """Return the error of a file all of whose sources failed; the gravest kind of failure decides."""
    remote, errors = _deciding(exhausted)
    faults = {error.fault for error in errors}
    # Wrong bytes first: they may mean an attack or a wrong manifest, which no retry and no network repairs.
    if any(fault.is_integrity for fault in faults):
        return IntegrityError(
            f"{what}: no source has the pinned bytes ({exhausted.message})",
            hint=_hint(
                errors,
                "The sources or the pin are wrong: run `modelfetch quarantine list`.",
            ),
        )
    if remote and all(fault.is_unreached for fault in faults):
        return UnreachableError([model], remote)
    if Fault.AUTHORIZATION in faults:
        # The advice of other sources would not give access to the file.
        refusals = [error for error in errors if error.fault is Fault.AUTHORIZATION]
        hint = _hint(refusals, "Give the source credentials, or add another.")
        return AuthorizationError(f"{what}: {exhausted.message}", hint=hint)
    return UnavailableError(
        f"{what}: no source could deliver it ({exhausted.message})",
        hint=_hint(
            errors, "Try again later, or add another source: `modelfetch config set sources.mirrors URL`."
        ),
    )


def _deciding(exhausted: Exhausted) -> tuple[dict[str, SourceError], list[SourceError]]:
    """Return the failures that decide the error: by remote host, and in order.

    A damaged copy on this disk decides nothing while another source could be asked, so local sources count
    only where there was no remote one.
    """
    failures = [(label.partition(" "), error) for label, error in exhausted.failures]
    remote = [(host, error) for (kind, _, host), error in failures if kind != SourceKind.LOCAL]
    return dict(remote), [error for _, error in remote or failures]


def _hint(errors: Iterable[SourceError], otherwise: str) -> str:
    """Return the hint of the first error that has one, else ``otherwise``."""
    return next((error.hint for error in errors if error.hint), otherwise)


def worst(errors: Sequence[ModelfetchError]) -> ModelfetchError:
    """Return the error that the run ends with: the gravest one, with the number of other files that failed.

    If no host was reached for any file, that is one failure of the network, which names all models and hosts.
    """
    unreached = [error for error in errors if isinstance(error, UnreachableError)]
    if len(unreached) == len(errors):
        models = dict.fromkeys(model for error in unreached for model in error.models)
        return UnreachableError(models, dict(ChainMap(*(error.failures for error in reversed(unreached)))))
    first = min(errors, key=_gravity)
    if len(errors) == 1:
        return first
    more = len(errors) - 1
    kind = UnavailableError if isinstance(first, UnreachableError) else type(first)
    return kind(f"{first.message} (and {more} more file{'s' * (more > 1)})", hint=first.hint)


def _gravity(error: ModelfetchError) -> int:
    """Return the position in :data:`_GRAVITY`; an error of any other kind goes first."""
    return next((n for n, kind in enumerate(_GRAVITY) if isinstance(error, kind)), -1)


def progress(
    model: str,
    file: FileSpec,
    candidate: Candidate | None,
    received: int,
    parts: tuple[Part, ...] = (),
    brought: int = 0,
) -> Progress:
    """Return the event that this many bytes of a file are there, from these sources.

    Args:
        model: Name of the model.
        file: The file.
        candidate: The source that brings bytes now; None for the swarm.
        received: Bytes that are there.
        parts: Where they came from.
        brought: Bytes that came from the swarm.
    """
    if candidate is None:
        # Attempt 0 until something came: a reader only looked for peers, and asks its sources next.
        source = SWARM, SWARM, int(brought > 0)
    else:
        source = candidate.offer.kind, candidate.offer.host, candidate.failures + 1
    return Progress(model, file.path, *source, received, file.size, parts)


def retry_scheduled(
    model: str, file: FileSpec, candidate: Candidate, error: SourceError, wait: float
) -> RetryScheduled:
    """Return the event that a source failed and is asked again after ``wait`` seconds."""
    offer = candidate.offer
    return RetryScheduled(
        model,
        file.path,
        offer.kind,
        offer.host,
        candidate.failures + 1,
        error.fault,
        error.message,
        wait,
    )


def wrong_bytes(quarantined: FileQuarantined, kind: str) -> SourceError:
    """Return the failure of a source of some kind that sent a whole file with a wrong SHA-256."""
    detail = f"expected SHA-256 {quarantined.expected}, got {quarantined.actual}"
    message = "sent wrong bytes: the SHA-256 does not match"
    # ModelScope addresses files by branch, so another digest of the right size is rarely a damaged transfer.
    if kind == SourceKind.MODELSCOPE:
        message = "has other bytes than pinned: the branch has probably moved since"
    return SourceError(Fault.HASH, message, detail=detail)


def source_failed(
    model: str,
    file: FileSpec,
    candidate: Candidate,
    error: SourceError,
    received: int,
    following: Candidate | None,
) -> SourceFailed:
    """Return the event that a source failed and ``following``, if any is left, is asked next."""
    offer = candidate.offer
    return SourceFailed(
        model,
        file.path,
        offer.kind,
        offer.host,
        error.fault,
        error.message,
        error.hint,
        received,
        following.offer.kind if following else "",
        following.offer.host if following else "",
    )


def finished(error: Failure | None, files: Sequence[FileResult], seconds: float) -> RunFinished:
    """The last event of a run."""
    if error is None:
        return RunFinished("completed", 0, seconds, tuple(files), None)
    if isinstance(error, Cancelled):
        info = ErrorInfo(code_of(error), "cancelled", "run the command again to continue")
        return RunFinished("cancelled", SIGINT_EXIT, seconds, tuple(files), info)
    info = ErrorInfo(error.code, error.message, error.hint)
    return RunFinished("failed", error.exit_code, seconds, tuple(files), info)


def code_of(error: Failure | None) -> str:
    """The code of the failure that ended a run: why its remaining files were not tried. Empty without one."""
    return "cancelled" if isinstance(error, Cancelled) else error.code if error is not None else ""
