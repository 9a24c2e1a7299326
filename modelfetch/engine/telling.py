"""What a transfer tells of its sources, as events. Pure."""

from __future__ import annotations

from modelfetch.engine.candidates import Candidate
from modelfetch.engine.events import Progress, RetryScheduled, SourceFailed
from modelfetch.errors import SourceError
from modelfetch.model.manifest import FileSpec


def progress(model: str, file: FileSpec, candidate: Candidate, received: int) -> Progress:
    """So many bytes of a file are there."""
    offer = candidate.offer
    return Progress(model, file.path, offer.kind, offer.host, candidate.failures + 1, received, file.size)


def retry_scheduled(
    model: str, file: FileSpec, candidate: Candidate, error: SourceError, wait: float
) -> RetryScheduled:
    """A source failed, and is asked again after some seconds."""
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


def source_failed(
    model: str,
    file: FileSpec,
    candidate: Candidate,
    error: SourceError,
    received: int,
    following: Candidate | None,
) -> SourceFailed:
    """A source failed, and another one is asked next, if any is left."""
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
