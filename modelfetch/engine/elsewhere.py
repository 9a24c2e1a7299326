"""Places outside the cache that get a model's files too. Pure: which file goes where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from modelfetch.errors import UsageError
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
from modelfetch.model.paths import caseless
from modelfetch.sources.huggingface import cache_folder
from modelfetch.values import dataclass


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where else files go."""

    to: Path | None = None
    """A directory that gets the files of every model at its root (``--to``)."""
    hub_cache: Path | None = None
    """A cache of the Hugging Face libraries (``--layout hf``), whose programs then find the model offline."""

    def places(self, manifest: Manifest) -> Iterator[tuple[Path, str, FileSpec]]:
        """Yield directory, path below it, and file.

        Raises:
            UsageError: The model does not come from Hugging Face, so its libraries would not look for it.
        """
        if self.to is not None:
            yield from ((self.to, file.path, file) for file in manifest.files)
        if self.hub_cache is not None:
            repo = _repo(manifest)
            snapshot = self.hub_cache / cache_folder(repo) / "snapshots" / repo.revision
            yield from ((snapshot, file.huggingface_path or file.path, file) for file in manifest.files)

    def notes(self, manifest: Manifest) -> Iterator[tuple[Path, str, str]]:
        """Yield directory, path and text of small files that go with them.

        ``refs/main`` tells the libraries which snapshot a model without a revision means.
        """
        if self.hub_cache is not None:
            repo = _repo(manifest)
            yield self.hub_cache / cache_folder(repo), "refs/main", repo.revision

    def check(self, manifests: Sequence[Manifest]) -> None:
        """Refuse what cannot be done for all of these models.

        Raises:
            UsageError: A model does not come from Hugging Face, or one would overwrite files of another.
        """
        owners: dict[tuple[Path, str], tuple[str, str]] = {}
        for manifest in manifests:
            for directory, path, file in self.places(manifest):
                claim = (manifest.name, file.sha256)
                name, sha256 = owners.setdefault((directory, caseless(path)), claim)
                if sha256 != file.sha256:
                    raise UsageError(
                        f"{name} and {manifest.name} both have {path}: they cannot share {directory}",
                        hint="Give each model a directory of its own: run the command once for each.",
                    )


def _repo(manifest: Manifest) -> HuggingFaceRepo:
    if manifest.huggingface is None:
        raise UsageError(
            f"{manifest.name} does not come from Hugging Face: its libraries would not look for it",
            hint="Leave --layout hf out for this model; --to DIR places the files anywhere.",
        )
    return manifest.huggingface
