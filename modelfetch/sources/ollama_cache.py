"""The models of ollama: each layer is a file named by its SHA-256.

::

    ~/.ollama/models/blobs/sha256-<64 digits>            a layer (older versions: sha256:<64 digits>)
    ~/.ollama/models/blobs/sha256-<64 digits>-partial    an unfinished download, never used

The name only proposes a file: ollama moves a blob there before it has verified it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.sources.hf_cache import regular_inside

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest


class OllamaCache:
    """The directories in which ollama keeps models; they may not exist.

    Args:
        directories: Directories with ``blobs`` and ``manifests``, in the order in which they are searched.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self.directories = tuple(directories)

    @cached_property
    def _present(self) -> list[Path]:
        """The directories that exist: looked up once, as a model may have thousands of files."""
        # Not Path.is_dir: it raises where a directory may not be entered, as that of ollama's service may be.
        return [directory for directory in self.directories if os.path.isdir(directory / "blobs")]  # noqa: PTH112

    def exact(self, _manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        """Yield the blobs with this SHA-256."""
        for directory in self._present:
            path = blob_path(directory, file.sha256)
            if path is not None:
                yield path


def blob_path(directory: Path, sha256: str) -> Path | None:
    """Return the blob with a SHA-256, or None if this directory does not have it."""
    for name in (f"sha256-{sha256}", f"sha256:{sha256}"):
        path = directory / "blobs" / name
        if regular_inside(directory, path) is not None:
            return path
    return None
