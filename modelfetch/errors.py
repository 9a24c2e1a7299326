"""Every error modelfetch raises, split by who can do something about it.

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
    ├── AuthorisationError               unauthorised    9    a source wants credentials
    ├── DeadlineError                    timeout         10   the run's own time limit was reached
    └── SourceError                      (never ends a run by itself: one source failed for one file)

An error carries facts in its message, and in ``hint`` one line that says what to do next. This module
imports nothing of the package.
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
    """The call itself is wrong: an unknown option value, a name that cannot be a model."""

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
    """A manifest breaks its contract.

    Attributes:
        where: The file (or other origin) of the manifest.
        faults: Every fault found, each ``key: what is wrong``.
    """

    code = "bad_manifest"
    exit_code = 3

    def __init__(self, where: str, faults: Sequence[str]) -> None:
        self.where = where
        self.faults = tuple(faults)
        rest = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{where}: {faults[0]}{rest}", hint="Mend the manifest; every fault is listed.")


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
    """The disk refused: full, read-only, denied, or damaged."""

    code = "disk"
    exit_code = 7


class LockTimeoutError(ModelfetchError):
    """Another process held a lock for longer than ``--lock-timeout`` allows."""

    code = "lock_timeout"
    exit_code = 8


class AuthorisationError(ModelfetchError):
    """A source has the file but wants credentials, and no other source could deliver it."""

    code = "unauthorised"
    exit_code = 9


class DeadlineError(ModelfetchError):
    """The run's own time limit (``--timeout``) was reached; what is good was kept."""

    code = "timeout"
    exit_code = 10


class Fault(StrEnum):
    """Why one source failed for one file: the key of retry rules, messages and statistics."""

    CONNECT = "connect"
    """Name not resolved at the moment, refused, reset or timed out before a connection stood."""
    TLS = "tls"
    """The certificate or the handshake was refused; never retried, never bypassed."""
    PROXY = "proxy"
    """The proxy refused, or wants credentials."""
    TIMEOUT = "timeout"
    """No first byte in time."""
    STALL = "stall"
    """Bytes stopped coming, or came slower than the floor."""
    CUT = "cut"
    """The body ended before its last byte."""
    BUSY = "busy"
    """408, 425, 429, 503: the server asks to come back later."""
    SERVER = "server"
    """500, 502, 504, 52x: the server failed."""
    NOT_FOUND = "not_found"
    """404, 410, 451: not here."""
    AUTHORISATION = "authorisation"
    """401, 403: credentials are missing, wrong, or not enough."""
    PROTOCOL = "protocol"
    """An answer that contradicts the request or itself; repeating it unchanged is no use."""
    REDIRECT = "redirect"
    """A redirect that must not be followed."""
    SIZE = "size"
    """The source has other content under this address: another length than the manifest pins."""
    HASH = "hash"
    """The right number of bytes, but not the pinned ones."""
    MISSING = "missing"
    """A file that should be on this disk is not."""
    UNLISTED = "unlisted"
    """A file lies in a model's directory that its manifest does not list."""

    @property
    def is_transient(self) -> bool:
        """Whether asking the same source again, later, may help (reference: retry classes)."""
        return self in _TRANSIENT

    @property
    def is_integrity(self) -> bool:
        """Whether the source did answer, with bytes that are not the pinned ones."""
        return self in (Fault.SIZE, Fault.HASH)

    @property
    def is_unreached(self) -> bool:
        """Whether the host was not even reached."""
        return self in (Fault.CONNECT, Fault.PROXY)


_TRANSIENT = frozenset({Fault.CONNECT, Fault.TIMEOUT, Fault.STALL, Fault.CUT, Fault.BUSY, Fault.SERVER})


class SourceError(ModelfetchError):
    """One source failed for one file. The transfer decides whether to retry it or to ask the next.

    Attributes:
        fault: The class of the failure.
        retry: Whether asking the same source again, later, may help.
        retry_after: Seconds the server asked us to wait, or None.
        detail: What the error that ends a run says beyond ``message``, such as two digests; may be empty.
        elsewhere: The host that failed, where a redirect led away from the one that was asked; else empty.
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
    """The Ctrl-C that became an error on its way, if one did.

    Libraries turn whatever comes up in the middle of them into errors of their own, and Python 3.11 does with
    what comes up in ``__set_name__``, of which importing ``enum`` or ``typing`` has many.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen
