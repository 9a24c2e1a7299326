"""The models of ollama on this disk, as models that can be pinned without a request.

A manifest lists the layers of a model; each is a blob that is named by its SHA-256::

    manifests/registry.ollama.ai/library/llama3.2/1b
    blobs/sha256-<64 digits>
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UnknownModelError, UsageError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.reference import OllamaReference
from modelfetch.model.registry_documents import Document
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import did_you_mean, quote, sanitize
from modelfetch.pins.local_model import LocalModel, few, real
from modelfetch.sources.local_directories import files_below
from modelfetch.sources.ollama_cache import blob_path
from modelfetch.upstreams.artifact_layers import named_layers
from modelfetch.upstreams.base import Listing, UpstreamFile

if TYPE_CHECKING:
    from modelfetch.model.registry_documents import Descriptor

MOST_MODELS: Final = 10_000
_MANIFEST_BYTES: Final = 4 << 20
"""Largest manifest that is read; models of thousands of layers have less than 2 MB."""
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
"""Host, namespace, model or tag (ollama, types/model/name.go)."""
_REGISTRY: Final = "registry.ollama.ai"
"""The registry whose models have pages on ollama.com."""
_CONFIG: Final = "config.json"


def models_of_ollama(
    directories: Sequence[Path], wanted: OllamaReference | None = None
) -> Iterator[LocalModel]:
    """Yield the models of ollama, or the one that a reference names.

    Args:
        directories: Where ollama keeps models; the first one that has a model counts.
        wanted: The model; names are compared without regard to case, as ollama does.

    Raises:
        UnknownModelError: The wanted model is not there.
    """
    found: dict[str, tuple[Path, OllamaReference, Path]] = {}
    for directory in directories:
        for reference, path in _manifests(directory):
            found.setdefault(reference.text.lower(), (directory, reference, path))
    if wanted is not None:
        key = wanted.text.lower()
        if key not in found:
            raise _unknown(wanted, [reference for _, reference, _ in found.values()])
        found = {key: found[key]}
    for directory, reference, path in found.values():
        yield _model(directory, reference, path)


def _unknown(wanted: OllamaReference, found: Sequence[OllamaReference]) -> UnknownModelError:
    """The error for a model that is not there, with its other tags or the model that is spelled alike."""
    tags = tuple(each.text for each in found if each.model.lower() == wanted.model.lower())
    guess = f" It has: {few(tags)}." if tags else did_you_mean(wanted.model, [each.model for each in found])
    return UnknownModelError(
        f"ollama has no model {quote(wanted.text)} on this disk.{guess}",
        hint="`ollama list` shows its models; OLLAMA_MODELS names another directory.",
    )


def _manifests(directory: Path) -> Iterator[tuple[OllamaReference, Path]]:
    """Yield the manifests of a directory: HOST/NAMESPACE/MODEL/TAG."""
    top = directory / "manifests"
    for number, entry in enumerate(files_below(top)):
        parts = Path(os.path.relpath(entry.path, top)).parts
        if number >= MOST_MODELS:
            return
        if len(parts) == 4 and all(_PART.fullmatch(part) for part in parts):
            yield OllamaReference(*parts), Path(entry.path)


def _model(directory: Path, reference: OllamaReference, path: Path) -> LocalModel:
    try:
        content = read_regular(path, _MANIFEST_BYTES)
        sha256 = hashlib.sha256(content).hexdigest()
        files = _files(Document(sha256, "", json.loads(content)), reference)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return LocalModel(reference.text, None, "damaged", f"its manifest cannot be used: {_why(error)}")
    except UsageError as error:
        return LocalModel(reference.text, None, "damaged", error.message)
    blobs = {layer.sha256: blob_path(directory, layer.sha256) for _, layer in files}
    if missing := tuple(name for name, layer in files if blobs[layer.sha256] is None):
        reason = f"layers are not there: {few(missing)}"
        return LocalModel(reference.text, None, "incomplete", reason, f"`{_pull(reference)}` fetches them.")
    if cut := tuple(name for name, layer in files if _size(blobs[layer.sha256]) != layer.size):
        reason = f"layers of a wrong size: {few(cut)}"
        hint = f"Delete it with `ollama rm`, then `{_pull(reference)}`."  # pull keeps a layer that is there
        return LocalModel(reference.text, None, "damaged", reason, hint)
    listing = Listing(
        reference=reference,
        revision=f"sha256:{sha256}",
        files=tuple(_file(name, layer, blobs[layer.sha256]) for name, layer in files),
        stated_by="ollama",
        name=reference.model if reference.tag == "latest" else f"{reference.model}-{reference.tag}",
        homepage=_page(reference),
        oci=f"{reference.host}/{reference.namespace}/{reference.model}",
    )
    return LocalModel(reference.text, listing)


def _files(document: Document, reference: OllamaReference) -> list[tuple[str, Descriptor]]:
    """Name the layers, and the configuration.

    Raises:
        ValueError: The manifest is malformed.
        UsageError: A layer cannot be a file.
    """
    config, layers = document.config(), document.descriptors("layers")
    if not layers:
        raise ValueError("it has no layers")
    files = named_layers(layers, f"{reference.model}-{reference.tag}")
    if config is not None and all(name != _CONFIG for name, _ in files):
        files.append((_CONFIG, replace(config, annotations={})))
    return files


def _file(name: str, layer: Descriptor, path: Path | None) -> UpstreamFile:
    return UpstreamFile(name, layer.size, layer.sha256, disk=real(path) if path is not None else None)


def _size(path: Path | None) -> int | None:
    """The size of a blob; None if it is not there, for example because it was removed just now."""
    try:
        return None if path is None else path.stat().st_size
    except OSError:
        return None


def _pull(reference: OllamaReference) -> str:
    return f"ollama pull {sanitize(reference.text.removeprefix('ollama:'))}"


def _page(reference: OllamaReference) -> str:
    if reference.host != _REGISTRY:
        return ""
    return f"https://ollama.com/{reference.namespace}/{reference.model}"


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)[:100] or "it is not valid"
