"""From the failures of files to the one error a run ends with. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from modelfetch.engine.transfer import Exhausted
from modelfetch.errors import (
    AuthorisationError,
    DeadlineError,
    Fault,
    IntegrityError,
    LockTimeoutError,
    ModelfetchError,
    OfflineError,
    StoreError,
    UnavailableError,
)

# What a person should hear of first when several files failed in different ways.
_GRAVITY = (
    StoreError,
    DeadlineError,
    LockTimeoutError,
    IntegrityError,
    AuthorisationError,
    UnavailableError,
    OfflineError,
)


def file_error(model: str, path: str, exhausted: Exhausted, *, offline: bool) -> ModelfetchError:
    """The error of one file that no source could deliver, naming every source tried and why it failed."""
    what = f"{model}: {path}"
    faults = [error.fault for _, error in exhausted.failures]
    hint = next((error.hint for _, error in exhausted.failures if error.hint), "")
    if offline:
        return OfflineError(
            f"{what} is missing, and the network may not be used",
            hint="Run once without --offline (and without MODELFETCH_OFFLINE or HF_HUB_OFFLINE) to fetch it.",
        )
    if any(fault.is_integrity for fault in faults):
        return IntegrityError(
            f"{what}: every source that answered sent wrong bytes ({exhausted.message})",
            hint=hint
            or "The sources or the manifest are wrong; nothing was put in place. Try another source.",
        )
    if not exhausted.failures:
        return UnavailableError(
            f"{what}: no source is known for it",
            hint="Allow more kinds with --only, configure a mirror, or add sources to its manifest.",
        )
    if Fault.AUTHORISATION in faults:
        return AuthorisationError(f"{what}: {exhausted.message}", hint=_authorisation_hint(exhausted))
    return UnavailableError(
        f"{what}: no source could deliver it ({exhausted.message})", hint=hint or _unavailable_hint(faults)
    )


def _authorisation_hint(exhausted: Exhausted) -> str:
    """What the source that wants credentials says; other sources' advice would not get at the file."""
    refusals = (error for _, error in exhausted.failures if error.fault is Fault.AUTHORISATION)
    return next(
        (error.hint for error in refusals if error.hint), "Give the source credentials, or add another."
    )


def _unavailable_hint(faults: Sequence[Fault]) -> str:
    if all(fault is Fault.CONNECT for fault in faults):
        return "Check the network (and HTTPS_PROXY), then run the same command again; what is there is kept."
    return "Try again later, or add another source: modelfetch config set sources.mirrors URL"


def worst(errors: Sequence[ModelfetchError]) -> ModelfetchError:
    """The error to end with: the gravest one, saying how many more files failed."""
    first = min(errors, key=lambda error: _GRAVITY.index(type(error)) if type(error) in _GRAVITY else -1)
    if len(errors) == 1:
        return first
    more = len(errors) - 1
    return type(first)(f"{first.message} (and {more} more file{'s' * (more > 1)})", hint=first.hint)
