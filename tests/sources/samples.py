"""Manifests for the tests of sources, and reading everything an offer yields."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import Any

from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.sources.base import Offer

DATA = b"the pinned bytes" * 64
SHA256 = hashlib.sha256(DATA).hexdigest()
REVISION = "0123456789abcdef0123456789abcdef01234567"


def spec(path: str = "onnx/model.onnx", **facts: Any) -> FileSpec:
    """A file with the pinned bytes."""
    return FileSpec(path, len(DATA), SHA256, **facts)


def manifest(*files: FileSpec, **facts: Any) -> Manifest:
    """A model of these files."""
    return Manifest("m", "1", files, **facts)


def read(offer: Offer, offset: int = 0, end: int | None = None) -> bytes:
    """All bytes that an offer yields from an offset on."""
    with closing(offer.open(offset, end)) as stream:
        return b"".join(stream)
