"""The errors that modelfetch raises, grouped by who can correct them.

::

    ModelfetchError                      code            exit
    ├── UsageError                       usage           2    the call is wrong
    │   └── ConfigError                  config          2    a setting is wrong
    ├── UnknownModelError                unknown_model   3    no catalog has this name
    ├── ManifestError                    bad_manifest    3    a manifest is wrong; all faults at once
    ├── OfflineError                     offline         4    missing, and the network may not be used
    ├── IntegrityError                   integrity       5    bytes are not what the manifest pins
    ├── UnavailableError                 unavailable     6    no source could deliver
    ├── StoreError                       disk            7    disk full, read-only, denied, damaged
    ├── LockTimeoutError                 lock_timeout    8    another process held a lock for too long
    ├── AuthorizationError               unauthorised    9    a source wants credentials
    ├── DeadlineError                    timeout         10   the run's own time limit was reached
    └── SourceError                      (never ends a run by itself: one source failed for one file)

The message of an error says what happened and where; its ``hint`` says in one line what to do next. This
module imports no other module of the package, so that every module can use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar


class ModelfetchError(Exception):
    """Base of all expected failures.

    Attributes:
        code: Stable machine-readable name, as in the ``error.code`` of events.
        exit_code: Exit code of a command that ends with this error.
        message: What happened, where; one line.
        hint: What to do next; one line, may be empty.
    """

    code: ClassVar[str] = "bug"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ModelfetchError):
    """The call is wrong: an unknown option value, or an invalid model name."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or has a bad value; the message names file (or variable) and key."""

    code = "config"


class UnknownModelError(ModelfetchError):
    """No catalog has a model of this name."""

    code = "unknown_model"
    exit_code = 3


class ManifestError(ModelfetchError):
    """A manifest is invalid.

    Attributes:
        where: The file of the manifest.
        faults: Every fault found, each ``key: what is wrong``.
    """

    code = "bad_manifest"
    exit_code = 3

    def __init__(self, where: str, faults: Sequence[str]) -> None:
        self.where = where
        self.faults = tuple(faults)
        rest = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{where}: {faults[0]}{rest}", hint="Correct the manifest; every fault is listed.")


class OfflineError(ModelfetchError):
    """Files are missing and the network may not be used."""

    code = "offline"
    exit_code = 4


class IntegrityError(ModelfetchError):
    """Every source that answered sent wrong bytes, or a check found a bad or missing file."""

    code = "integrity"
    exit_code = 5


class UnavailableError(ModelfetchError):
    """No source could deliver a file."""

    code = "unavailable"
    exit_code = 6


class StoreError(ModelfetchError):
    """The disk is full, read-only or damaged, or permission is denied."""

    code = "disk"
    exit_code = 7


class LockTimeoutError(ModelfetchError):
    """Another process held a lock for longer than ``--lock-timeout`` allows."""

    code = "lock_timeout"
    exit_code = 8


class AuthorizationError(ModelfetchError):
    """A source requires credentials for the file, and no other source could deliver it."""

    code = "unauthorised"
    exit_code = 9


class DeadlineError(ModelfetchError):
    """The time limit of the run (``--timeout``) was reached. Verified data was kept."""

    code = "timeout"
    exit_code = 10


class Fault(StrEnum):
    """Why one source failed for one file; retry rules, messages and statistics depend on it."""

    CONNECT = "connect"
    """No connection: the host cannot be resolved, or it refused, reset or did not answer in time."""
    TLS = "tls"
    """The certificate or the handshake failed; never retried, never bypassed."""
    PROXY = "proxy"
    """The proxy refused the connection, or requires credentials."""
    TIMEOUT = "timeout"
    """No first byte in time."""
    STALL = "stall"
    """The transfer stalled, or was slower than ``network.min_speed``."""
    CUT = "cut"
    """The response body ended early."""
    BUSY = "busy"
    """408, 425, 429, 503: the server asks to retry later."""
    SERVER = "server"
    """500, 502, 504, 52x: the server failed."""
    NOT_FOUND = "not_found"
    """404, 410, 451: the server does not have the file."""
    AUTHORIZATION = "authorisation"
    """401, 403: credentials are missing, wrong or insufficient."""
    PROTOCOL = "protocol"
    """A response that contradicts the request or itself; an unchanged retry would fail again."""
    REDIRECT = "redirect"
    """A redirect that must not be followed."""
    SIZE = "size"
    """The source has other content at this address: its size is not the pinned one."""
    HASH = "hash"
    """The size is right, but the digest is not the pinned one."""
    MISSING = "missing"
    """A file is missing on disk."""
    UNLISTED = "unlisted"
    """A file in a model's directory is not listed in its manifest."""

    @property
    def is_transient(self) -> bool:
        """Whether a later retry of the same source may succeed."""
        return self in _TRANSIENT

    @property
    def is_integrity(self) -> bool:
        """Whether the source answered with data that is not the pinned one."""
        return self in (Fault.SIZE, Fault.HASH)

    @property
    def is_unreached(self) -> bool:
        """Whether no connection to the host was established."""
        return self in (Fault.CONNECT, Fault.PROXY)


_TRANSIENT = frozenset({Fault.CONNECT, Fault.TIMEOUT, Fault.STALL, Fault.CUT, Fault.BUSY, Fault.SERVER})


class SourceError(ModelfetchError):
    """One source failed for one file. The transfer decides whether to retry it or to try the next one.

    Attributes:
        fault: The class of the failure.
        retry: Whether a later retry of the same source may succeed.
        retry_after: Seconds to wait as requested by the server, or None.
        detail: Added to the message if the error ends a run, such as two digests; may be empty.
        elsewhere: The host that failed, if a redirect led to another host; else empty.
    """

    code = "source"
    exit_code = 6

    def __init__(
        self,
        fault: Fault,
        message: str,
        *,
        hint: str = "",
        retry: bool | None = None,
        retry_after: float | None = None,
        detail: str = "",
        elsewhere: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.detail = detail
        self.elsewhere = elsewhere
        self.fault = fault
        self.retry = fault.is_transient if retry is None else retry
        self.retry_after = retry_after


def interrupt_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the KeyboardInterrupt that caused an error, if one did.

    A library may catch the exception of a Ctrl-C and raise its own error instead. So does Python 3.11 during
    ``__set_name__``, which runs many times while ``enum`` or ``typing`` is imported.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen
