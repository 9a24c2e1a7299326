"""Adding models over HTTP: what a reference would be pinned as, and writing that pin.

A client first asks what would be pinned (``dry_run``), and then adds it. What it was shown is what is
written, also if the upstream moved in between. Only one reference is resolved at a time, within a time limit:
a hub may be slow, and a plain URL may be a large file that has to be read whole to hash it.

References to this disk are refused: a client must not find out which files the server's user can read. So
are addresses in a private network, unless the settings name them: the server must not be a way to services
that only its machine reaches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import (
    AuthorizationError,
    Fault,
    IntegrityError,
    ModelfetchError,
    OfflineError,
    UnavailableError,
    UsageError,
)
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import is_permissive
from modelfetch.server.error_responses import Refusal, refusal_for
from modelfetch.server.timed_work import TimedWork

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.pins.pin import Pin
    from modelfetch.pins.variants import Variant
    from modelfetch.server.requests import PinSubmission
    from modelfetch.server.runner import ServerWorkspace
    from modelfetch.workspace import Workspace

ADD_SECONDS: Final = 120.0
"""Seconds that resolving a reference may take: listing a repository takes seconds, and its small files a few
more. Large files behind plain URLs are for the command line, which shows progress."""
SHOWN_SECONDS: Final = 600.0
"""Seconds for which a pin that was shown can be added as it is; later it is made again."""

_STATUS: Final[tuple[tuple[type[ModelfetchError], HTTPStatus], ...]] = (
    (UsageError, HTTPStatus.BAD_REQUEST),
    (OfflineError, HTTPStatus.CONFLICT),
    (AuthorizationError, HTTPStatus.BAD_GATEWAY),
    (UnavailableError, HTTPStatus.BAD_GATEWAY),
    (IntegrityError, HTTPStatus.BAD_GATEWAY),
)
"""Status by class of error. A hub that wants credentials is 502: 401 and 403 are about this server."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """The pin that a client was shown last."""

    submission: PinSubmission
    pin: Pin
    until: float


class Pins:
    """Adds models to the user's catalog. Thread-safe.

    Args:
        workspace: Settings and catalogs; read again for each request.
        is_allowed: Whether models may be added at all.
        seconds: Time limit of one request.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        workspace: ServerWorkspace,
        *,
        is_allowed: bool,
        seconds: float = ADD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_allowed = is_allowed
        self._workspace = workspace
        self._clock = clock
        self._busy = threading.Lock()
        self._work = TimedWork(seconds)
        self._shown: _Shown | None = None

    def submit(self, submission: PinSubmission) -> tuple[dict[str, Any], HTTPStatus]:
        """Show what would be pinned, or add it.

        Returns:
            The document of the response, and its status.

        Raises:
            Refusal: It is not allowed, another one is in progress, or it failed.
        """
        if not self.is_allowed:
            hint = "Start the server with --allow-add, or run `modelfetch add` on its machine."
            raise Refusal(HTTPStatus.FORBIDDEN, "add_not_allowed", "this server adds no models", hint)
        if not self._busy.acquire(blocking=False):
            message = "another reference is being resolved"
            raise Refusal(HTTPStatus.CONFLICT, "busy", message, "Try again when it is done.")
        try:
            return self._within_time(submission)
        finally:
            self._busy.release()

    def stop(self) -> None:
        """End what is in progress, because the server stops."""
        self._work.stop()

    def _within_time(self, submission: PinSubmission) -> tuple[dict[str, Any], HTTPStatus]:
        with self._work.running() as cancel:
            try:
                return self._submit(submission, cancel)
            except Cancelled:
                raise self._ended() from None
            except ModelfetchError as error:
                if cancel.cancelled:  # the connection was cut on purpose
                    raise self._ended() from error
                raise _refusal(error) from error

    def _ended(self) -> Refusal:
        if self._work.is_stopping:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "the server is shutting down")
        message = f"the reference could not be resolved within {self._work.seconds:g} s"
        hint = "Try again, or run `modelfetch add` on the server's machine."
        return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "too_long", message, hint)

    def _submit(self, submission: PinSubmission, cancel: Cancellation) -> tuple[dict[str, Any], HTTPStatus]:
        from modelfetch.pins.catalogs import find_pin, user_catalog, write_pin
        from modelfetch.pins.outdated import record_pinned

        workspace = self._workspace.load()
        reference = _reference(workspace, submission.reference)
        known = find_pin(workspace, reference) if not (submission.name or submission.include) else None
        if known is not None:
            return _document(reference, known, added=False, is_known=True), HTTPStatus.OK
        pin = self._taken(submission)
        if pin is None:
            made = _made(workspace, reference, submission, cancel)
            if isinstance(made, tuple):
                return {"reference": reference.text, "variants": list(map(_variant, made))}, HTTPStatus.OK
            pin = made
        if submission.dry_run:
            self._shown = _Shown(submission, pin, self._clock() + SHOWN_SECONDS)
            return _document(reference, pin.manifest, pin, added=False), HTTPStatus.OK
        path = write_pin(pin.manifest, user_catalog(workspace))
        record_pinned(workspace, pin.manifest)
        document = _document(reference, pin.manifest, pin, added=True)
        return document | {"manifest": str(path)}, HTTPStatus.CREATED

    def _taken(self, submission: PinSubmission) -> Pin | None:
        """Return the pin that was shown for the same request, to write exactly that; it is used once."""
        shown = self._shown
        if shown is None or submission.dry_run or shown.until < self._clock():
            return None
        asked = (shown.submission.reference, shown.submission.name, shown.submission.include)
        if asked != (submission.reference, submission.name, submission.include):
            return None
        self._shown = None
        return shown.pin


def _reference(workspace: Workspace, text: str) -> Reference:
    """Parse a reference.

    Raises:
        UsageError: It is none, or it names something on this disk or in an object store.
    """
    from modelfetch.model.parse_reference import parse_reference
    from modelfetch.model.reference import DiskReference, ObjectReference

    endpoint = workspace.loaded.settings.huggingface.endpoint
    # No path is looked up: the answer would show which files exist.
    reference = parse_reference(text, exists=lambda _: False, hf_endpoint=endpoint)
    if isinstance(reference, DiskReference):
        raise UsageError(
            "files of the server's disk are not added over HTTP",
            hint="Run `modelfetch add` on the server's machine.",
        )
    if isinstance(reference, ObjectReference):
        # It would be read with the credentials of the server, which a client may not have.
        raise UsageError(
            "objects of buckets are not added over HTTP: the server's credentials would read them",
            hint="Run `modelfetch add` on the server's machine.",
        )
    return reference


def _made(
    workspace: Workspace, reference: Reference, submission: PinSubmission, cancel: Cancellation
) -> Pin | tuple[Variant, ...]:
    """Make the pin; for a repository with several variants and no choice, return these."""
    from modelfetch.pins.pin import PinRequest
    from modelfetch.pins.session import open_session
    from modelfetch.pins.variants import VariantsError

    request = PinRequest((reference,), submission.name, include=submission.include)
    try:
        with open_session(workspace, cancel=cancel, keep=not submission.dry_run, public_only=True) as session:
            return session.pin(request)
    except VariantsError as error:
        if not submission.dry_run:
            raise
        return error.variants


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "label": variant.label,
        "include": variant.pattern,
        "files": len(variant.paths),
        "size": variant.size,
    }


def _document(
    reference: Reference, manifest: Manifest, pin: Pin | None = None, *, added: bool, is_known: bool = False
) -> dict[str, Any]:
    stated = {each.file.path: list(each.stated_by) for each in pin.files} if pin is not None else {}
    files = [
        {"path": file.path, "size": file.size, "sha256": file.sha256, "stated_by": stated.get(file.path, [])}
        for file in manifest.files
    ]
    return {
        "reference": reference.text,
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "title": manifest.title,
        "license": manifest.license,
        "permissive": is_permissive(manifest.license),
        "homepage": manifest.homepage,
        "size": manifest.size,
        "files": files,
        "fetched": pin.fetched if pin is not None else 0,
        "notices": list(pin.notices) if pin is not None else [],
        "known": is_known,
        "added": added,
    }


def _refusal(error: ModelfetchError) -> Refusal:
    if getattr(error.__cause__, "fault", None) is Fault.REDIRECT:  # such as into a private network
        hint = "Run `modelfetch add` on the server's machine."
        return Refusal(HTTPStatus.BAD_GATEWAY, error.code, error.message, hint)
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return Refusal(status, error.code, error.message, error.hint)
    return refusal_for(error)
