"""A manifest as values: what a model consists of, and where it may be had."""

from __future__ import annotations

import hashlib
import json
from typing import Final, Literal

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import did_you_mean, quote

Kind = Literal["model", "worker", "dataset"]
RepoType = Literal["model", "dataset", "space"]

_PERMISSIVE: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "BSL-1.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "Unlicense",
        "Zlib",
    }
)
"""SPDX identifiers of licences that ask for no more than keeping a notice."""


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One file, pinned by size and digest, and more places where it may be had."""

    path: str
    """Where it lies in the model's directory: relative, ``/``-separated, safe on every operating system."""
    size: int
    """Bytes, exact."""
    sha256: str
    """64 lower-case hexadecimal digits."""
    cid: str | None = None
    """The file's own IPFS CID."""
    huggingface_path: str | None = None
    """Its path in the Hugging Face repository, where that differs from ``path``."""
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HuggingFaceRepo:
    """A Hugging Face repository at one commit."""

    repo: str
    """``owner/name``."""
    revision: str
    """The full commit: 40 lower-case hexadecimal digits."""
    type: RepoType = "model"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model: its pinned files, and the sources that may supply their bytes."""

    name: str
    version: str
    """Names the directory, so that a new pin never overwrites an old one."""
    files: tuple[FileSpec, ...]
    kind: Kind = "model"
    title: str = ""
    license: str = ""
    """As stated by the publisher; an SPDX identifier where one exists."""
    homepage: str = ""
    huggingface: HuggingFaceRepo | None = None
    ipfs_cid: str | None = None
    """A directory whose entries are the files' paths."""
    mirrors: tuple[str, ...] = ()
    """URL templates with ``{path}``, ``{sha256}``, ``{name}``, ``{version}``."""
    license_notice: str = ""
    """What to know about the licence before use; from the built-in catalog, never from a manifest's TOML."""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def identity(self) -> str:
        """SHA-256, in hexadecimal, of what the files are.

        It covers the sorted ``[path, size, sha256]`` triples as JSON without white space, in UTF-8. Sources,
        titles and the order in the manifest do not count.
        """
        return _identity(self.files)

    def file(self, path: str) -> FileSpec:
        """Find a file by its path.

        Raises:
            UsageError: The model has no such file.
        """
        for file in self.files:
            if file.path == path:
                return file
        guess = did_you_mean(path, (file.path for file in self.files))
        raise UsageError(
            f"{self.name} has no file {quote(path)}.{guess}",
            hint=f"`modelfetch show {self.name}` lists its files.",
        )


_KNOWN: Final[dict[int, tuple[tuple[FileSpec, ...], str]]] = {}
"""By ``id`` of the files: the files, which keep the number theirs, and their identity."""
_MOST_KNOWN: Final = 256
"""Identities remembered: more than a catalog has models."""


def _identity(files: tuple[FileSpec, ...]) -> str:
    """Work an identity out once: it takes 50 ms for 20,000 files, and every look at the cache asks for it."""
    known = _KNOWN.get(id(files))
    if known is not None and known[0] is files:
        return known[1]
    facts = sorted([file.path, file.size, file.sha256] for file in files)
    canonical = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    found = hashlib.sha256(canonical.encode()).hexdigest()
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    _KNOWN[id(files)] = files, found
    return found


def is_permissive(license: str) -> bool:  # noqa: A002 - the field's name, as callers write it
    """Whether a licence needs no word before the first download: an exact SPDX match, nothing guessed."""
    return license in _PERMISSIVE
