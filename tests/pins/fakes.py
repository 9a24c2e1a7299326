"""An upstream in memory: listings that a test writes down, and the bytes of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from modelfetch.model.manifest import HuggingFaceRepo, ModelScopeRepo
from modelfetch.model.reference import Reference, RepoReference
from modelfetch.upstreams.base import Listing, UpstreamFile

COMMIT = "0123456789abcdef" * 2 + "01234567"
HF = RepoReference("hf", "org/Repo")
MS = RepoReference("ms", "org/Repo")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def stated(path: str, data: bytes = b"weights", **more: Any) -> UpstreamFile:
    """A file whose SHA-256 the hub states."""
    return replace(UpstreamFile(path, len(data), sha256(data)), **more)


def plain(path: str, data: bytes = b"{}", **more: Any) -> UpstreamFile:
    """A file of which the hub states a git blob id only."""
    return replace(UpstreamFile(path, len(data), None, git_blob(data)), **more)


def hf_listing(*files: UpstreamFile, **more: Any) -> Listing:
    table = HuggingFaceRepo("org/Repo", COMMIT)
    listing = Listing(HF, COMMIT, files, "huggingface", "Repo", license="MIT", huggingface=table)
    return replace(listing, **more)


def ms_listing(*files: UpstreamFile, **more: Any) -> Listing:
    table = ModelScopeRepo("org/Repo", "master")
    return replace(Listing(MS, "", files, "modelscope", "Repo", modelscope=table), **more)


@dataclass
class FakeUpstream:
    """Resolves to one listing, and counts what it was asked for."""

    listing: Listing
    contents: Mapping[str, bytes] = field(default_factory=dict)
    resolved: int = 0
    opened: list[str] = field(default_factory=list)
    refusal: Exception | None = None
    """Raised instead of giving the bytes of a file."""

    def resolve(self, reference: Reference) -> Listing:
        self.resolved += 1
        return self.listing

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        self.opened.append(file.path)
        if self.refusal is not None:
            raise self.refusal
        yield iter([self.contents[file.path]])
