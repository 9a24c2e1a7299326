"""The snapshots in the cache of the Hugging Face libraries, as models that can be pinned without a request.

A cached listing (``trees/<commit>.json``) says which files the repository has at that commit. A snapshot that
lacks one is incomplete: its download was interrupted, or only some of the files were asked for. Which of the
two is not known, so it is adopted only if its reference is given. Without a listing a snapshot is taken as it
is. The digest of a large file is the name of its blob; a small file is hashed here, and its git blob id is
checked first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UnknownModelError
from modelfetch.model.manifest import HuggingFaceRepo
from modelfetch.model.reference import RepoReference
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import quote, sanitize
from modelfetch.pins.hf_cache_layout import did_you_mean_repository, repositories
from modelfetch.pins.local_model import LocalModel, few, real
from modelfetch.pins.select import is_left_out
from modelfetch.sources.hf_cache import GIT_BLOB, SHA256
from modelfetch.sources.huggingface import page_url
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.licenses import license_of

if TYPE_CHECKING:
    from modelfetch.pins.hf_cache_layout import CachedRepository, Snapshot, SnapshotFile, TreeEntry

_CARD_BYTES: Final = 64 << 10
"""Bytes of a README.md that are read for the license; its metadata come first."""
_METADATA: Final = re.compile(r"\A\ufeff?---\r?\n(.*?)\r?\n---", re.DOTALL)
_LICENSE: Final = re.compile(r"^license:[ \t]*[\"']?([A-Za-z0-9.+-]+)[\"']?[ \t]*\r?$", re.MULTILINE)
_FETCH: Final = "`hf download` fetches them."
VERIFY: Final = "`modelfetch verify --hf` checks the whole Hugging Face cache, and names the files to delete."
"""Hint for a file that has not the stated bytes."""


def models_in_hub(root: Path, endpoint: str, wanted: RepoReference | None = None) -> Iterator[LocalModel]:
    """Yield the snapshots of a cache, or the one that a reference names.

    Args:
        root: The directory of the cache.
        endpoint: Address of the Hub, for the pages of the models.
        wanted: Repository and revision; the branch ``main`` without a revision.

    Raises:
        UnknownModelError: The cache does not have the wanted repository or revision.
    """
    found = repositories(root)
    if wanted is not None:
        found = [each for each in found if (each.type, each.repo) == (wanted.type, wanted.repo)]
        if not found:
            name = wanted.repo if wanted.type == "model" else f"{wanted.type}s/{wanted.repo}"
            guess = did_you_mean_repository(name, repositories(root))
            raise UnknownModelError(
                f"the Hugging Face cache has no repository {quote(name)}.{guess}",
                hint="`hf cache ls` lists its repositories; HF_HUB_CACHE names another cache.",
            )
    for repository in found:
        snapshots = list(repository.snapshots())
        if wanted is not None:
            snapshots = [_wanted(wanted, snapshots)]
        for snapshot in _main_first(snapshots):
            is_only = len(snapshots) == 1 or "main" in snapshot.refs
            yield _model(repository, snapshot, endpoint, is_main=is_only, is_wanted=wanted is not None)


def _wanted(wanted: RepoReference, snapshots: list[Snapshot]) -> Snapshot:
    """Return the snapshot that a reference names.

    Raises:
        UnknownModelError: The cache does not have it.
    """
    revision = wanted.revision or "main"
    for snapshot in snapshots:
        if revision in snapshot.refs or (len(revision) >= 7 and snapshot.commit.startswith(revision)):
            return snapshot
    if wanted.revision is None and len(snapshots) == 1:
        return snapshots[0]
    known = [name for snapshot in snapshots for name in snapshot.refs or (snapshot.commit[:12],)]
    raise UnknownModelError(
        f"the Hugging Face cache has no revision {quote(revision)} of {wanted.repo}",
        hint=f"It has: {', '.join(known)}." if known else "It has no revision of it at all.",
    )


def _main_first(snapshots: list[Snapshot]) -> list[Snapshot]:
    """Sort snapshots so that the one of the branch ``main`` gets the plain name."""
    return sorted(snapshots, key=lambda snapshot: ("main" not in snapshot.refs, not snapshot.refs))


def _model(
    repository: CachedRepository, snapshot: Snapshot, endpoint: str, *, is_main: bool, is_wanted: bool
) -> LocalModel:
    revision = None if "main" in snapshot.refs else next(iter(snapshot.refs), snapshot.commit)
    reference = RepoReference("hf", repository.repo, revision, repository.type)
    if broken := tuple(file.path for file in snapshot.files if file.status is None):
        return LocalModel(reference.text, None, "incomplete", _lacking(broken), _FETCH)
    missing = tuple(path for path in snapshot.missing if not is_left_out(path))
    if missing and not is_wanted:
        return LocalModel(reference.text, None, "incomplete", _lacking(missing), _adopt_part(reference))
    if not snapshot.files:
        return LocalModel(reference.text, None, "incomplete", "the snapshot has no files")
    tree = snapshot.tree or {}
    files = [_file(file, tree.get(file.path)) for file in snapshot.files]
    if cut := tuple(file.path for file, own in zip(snapshot.files, files, strict=True) if _is_cut(file, own)):
        return LocalModel(reference.text, None, "damaged", f"files of a wrong size: {few(cut)}", VERIFY)
    repo = HuggingFaceRepo(repository.repo, snapshot.commit, repository.type)
    base = repository.repo.rpartition("/")[2]
    listing = Listing(
        reference=reference,
        revision=snapshot.commit,
        files=tuple(files),
        stated_by="huggingface",
        name=base if is_main else f"{base}-{snapshot.commit[:7]}",
        kind="dataset" if repository.type == "dataset" else "model",
        license=_license(snapshot),
        title=base,
        homepage=page_url(endpoint, repo),
        huggingface=repo,
        notices=_notices(reference, snapshot, missing),
    )
    return LocalModel(reference.text, listing, is_whole=snapshot.tree is not None and not missing)


def _lacking(paths: tuple[str, ...]) -> str:
    return f"{len(paths)} of its files are not in the cache: {few(paths)}"


def _adopt_part(reference: RepoReference) -> str:
    return f"If the others are not needed, `modelfetch adopt {sanitize(reference.text)}` pins those that are."


def _notices(reference: RepoReference, snapshot: Snapshot, missing: tuple[str, ...]) -> tuple[str, ...]:
    """Say that a pin may have a part of the repository only."""
    if snapshot.tree is None:
        why = "the cache has no listing of this commit"
    elif missing:
        why = _lacking(missing)
    else:
        return ()
    return (f"{reference.text}: {why}; the files that are there are pinned",)


def _file(file: SnapshotFile, entry: TreeEntry | None) -> UpstreamFile:
    """Describe a file by the name of its blob, or by the cached listing."""
    assert file.status is not None, "an incomplete snapshot"
    digest = entry.digest if entry is not None else file.blob
    return UpstreamFile(
        file.path,
        entry.size if entry is not None else file.status.st_size,
        digest if SHA256.fullmatch(digest) else None,
        git_blob=digest if GIT_BLOB.fullmatch(digest) else None,
        disk=real(file.location),
    )


def _is_cut(file: SnapshotFile, stated: UpstreamFile) -> bool:
    return file.status is not None and file.status.st_size != stated.size


def _license(snapshot: Snapshot) -> str:
    """Return the license that the metadata of the model card state, if they state one in one word."""
    card = next((file for file in snapshot.files if file.path == "README.md"), None)
    if card is None:
        return ""
    try:
        text = read_regular(card.location, _CARD_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
    metadata = _METADATA.match(text)
    found = _LICENSE.search(metadata[1]) if metadata else None
    return license_of(found[1]) if found else ""
