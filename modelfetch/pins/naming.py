"""Names and versions of pins, from what a hub calls them. Pure.

A hub's name is put into the alphabet of model names; a version is the beginning of the revision::

    Qwen2.5-0.5B-Instruct-GGUF, variant Q4_K_M  ->  qwen2.5-0.5b-instruct-q4_k_m
    commit 1846881b6b3a3024392c...              ->  1846881b6b3a
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.model.paths import why_bad_name, why_bad_version
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Format

VERSION_CHARACTERS: Final = 12
"""Characters of a revision that name a version, as in the built-in catalog: 48 bits of a commit."""
NAME_CHARACTERS: Final = 128

_OUTSIDE: Final = re.compile(r"[^a-z0-9._-]+")
_FORMATS: Final[dict[str, Format]] = {
    "onnx": "onnx",
    "gguf": "gguf",
    "safetensors": "safetensors",
    "pt": "pytorch",
    "pth": "pytorch",
}
"""Formats by the suffix of a file; suffixes that several formats have, such as ``bin``, are not here."""


def model_name(text: str, variant: str = "") -> str:
    """Return the name of a model, from the name of its repository and the label of its variant."""
    base = _in_alphabet(text)
    if variant:
        label = _in_alphabet(variant.removesuffix(".gguf"))
        base = label if base.removesuffix("-gguf") in label else f"{base.removesuffix('-gguf')}-{label}"
    name = base[:NAME_CHARACTERS].rstrip("._-")
    return name if not why_bad_name(name) else f"model-{name}".rstrip("._-")[:NAME_CHARACTERS]


def checked_name(name: str) -> str:
    """Return a name that a person gave.

    Raises:
        UsageError: It is no name of a model.
    """
    if clause := why_bad_name(name):
        raise UsageError(f"the name {quote(name)} {clause}", hint=f"For example: --name {model_name(name)}.")
    return name


def version_of(revision: str, identity: str) -> str:
    """Return the version of a pin: the beginning of its revision, or of its identity if it has none.

    Args:
        revision: The immutable revision: a commit, or ``sha256:`` and a digest; empty if there is none.
        identity: The identity of the manifest.
    """
    version = revision.removeprefix("sha256:").lower()[:VERSION_CHARACTERS]
    return version if version and not why_bad_version(version) else identity[:VERSION_CHARACTERS]


def format_of(files: Sequence[FileSpec]) -> Format | None:
    """Return the format of the largest file, if its suffix tells it."""
    largest = max(files, key=lambda file: file.size)
    return _FORMATS.get(largest.path.rpartition(".")[2].lower())


def _in_alphabet(text: str) -> str:
    return _OUTSIDE.sub("-", text.lower()).strip("._-")
