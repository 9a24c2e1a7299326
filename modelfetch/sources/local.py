"""Files on this disk: the same bytes in another model, or in the caches and directories of other programs.

==============================  =====================================================================
another model of this cache     by its SHA-256
cache of the Hugging Face hub   by SHA-256, at the pinned commit, small files by size and SHA-256
models of ollama                by SHA-256
directories of sources.local    by size and SHA-256
bundles of sources.local        by SHA-256
==============================  =====================================================================

Nothing is trusted here either: the content of a file is verified like a download, as it may have been
changed. Files are read only, and copied (or cloned, where the file system can), never linked: another program
may write to them.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.source_kinds import SourceKind
from modelfetch.sources.base import Offer, RegisteredSource, SourceContext
from modelfetch.sources.local_files import LocalOffer

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.sources.local_bundles import LocalBundle
    from modelfetch.sources.local_digests import LocalDigests
    from modelfetch.store import Store

Finder = Callable[["Manifest", "FileSpec"], Iterable[Path]]
"""Returns paths where a file may be. Its existence and content are checked afterwards."""
Inode = tuple[int, int]
"""Device and inode: hard links and symbolic links to one file count once."""

MOST_CANDIDATES: Final = 32
"""Most files of one size that are hashed for one pinned file and directory. Many small files of a machine may
have the same size; those that were hashed before do not count, so a later run examines the next ones."""


@dataclass(frozen=True, slots=True)
class Search:
    """A place whose files are found by size, and hashed before they are used."""

    root: Path
    """The directory, for display."""
    finder: Finder


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look for files."""

    finders: Sequence[Finder]
    """What they find is offered without hashing it first."""
    searches: Sequence[Search] = ()
    digests: LocalDigests | None = None
    """Required for searches."""
    bundles: Sequence[LocalBundle] = ()
    """Their blobs are offered without hashing them first."""


class LocalSource(RegisteredSource):
    """Existing files that may have the pinned bytes.

    Args:
        finders: Functions that return paths for a file.
        more: Called once, when a file is first looked for; returns further places. A run that finds every
            file present does not load the modules that search other places.
    """

    kind = SourceKind.LOCAL

    def __init__(self, finders: Sequence[Finder], more: Callable[[], Places] | None = None) -> None:
        self._finders = finders
        self._more = more
        self._found: Places | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_context(cls, context: SourceContext) -> LocalSource:
        """Search this cache, those of the Hugging Face libraries and of ollama, and ``sources.local``."""
        return cls([in_store(context.store)], lambda: _places_of(context))

    @property
    def _places(self) -> Places:
        with self._lock:
            if self._found is None:
                more = self._more() if self._more is not None else Places(())
                self._found = replace(more, finders=(*self._finders, *more.finders))
            return self._found

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer per existing file of the right size, and one per place with files not hashed yet."""
        places, offers, seen = self._places, list[Offer](), set[Inode]()
        for finder in places.finders:
            offers += [LocalOffer(path) for path, _ in _unseen(finder(manifest, file), file, seen)]
        offers += filter(None, (bundle.offer(file) for bundle in places.bundles))
        if places.digests is not None and file.size:
            for search in places.searches:
                found = _unseen(search.finder(manifest, file), file, seen)
                offers += _searched(search.root, found, file, places.digests)
        return offers


def _unseen(paths: Iterable[Path], file: FileSpec, seen: set[Inode]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the regular files of the right size that were not seen before, with their status."""
    for path in paths:
        found = _regular(path)
        if found is not None and found.st_size == file.size and (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            yield path, found


def _searched(
    root: Path, found: Iterable[tuple[Path, os.stat_result]], file: FileSpec, digests: LocalDigests
) -> list[Offer]:
    """Return offers for files of the right size: those known to have the bytes, then the unknown ones."""
    from modelfetch.sources.local_digests import SearchOffer

    offers, unknown = list[Offer](), list[Path]()
    for path, status in found:
        known = digests.known(path, status)
        if known == file.sha256:
            offers.append(LocalOffer(path))
        elif known is None:
            unknown.append(path)
    return [*offers, SearchOffer(root, unknown[:MOST_CANDIDATES], file, digests)] if unknown else offers


def _places_of(context: SourceContext) -> Places:
    """The places on this machine; code is loaded only for those that exist."""
    loaded = context.loaded
    finders, searches, bundles = list[Finder](), list[Search](), list["LocalBundle"]()
    for text in loaded.settings.sources.local:
        from modelfetch.sources.local_bundles import LocalBundle, in_layout, is_bundle_file, is_layout
        from modelfetch.sources.local_directories import LocalDirectory

        root = Path(os.path.expanduser(text))  # noqa: PTH111 - never raises
        if is_bundle_file(root):
            bundles.append(LocalBundle(root, context.notice))
        else:
            finders.append(in_layout(root))
            searches.append(Search(root, LocalDirectory(root, context.notice, context.store.root).of_size))
            if is_layout(root):
                bundles.append(LocalBundle(root))
    if os.path.isdir(loaded.hf_cache):  # noqa: PTH112 - never raises, unlike Path.is_dir
        from modelfetch.sources.hf_cache import HuggingFaceCache

        hub = HuggingFaceCache(loaded.hf_cache)
        finders.append(hub.exact)
        searches.append(Search(hub.root, hub.of_size))
    if any(map(os.path.isdir, loaded.ollama_models)):
        from modelfetch.sources.ollama_cache import OllamaCache

        finders.append(OllamaCache(loaded.ollama_models).exact)
    return Places(finders, searches, _digests(context) if searches else None, bundles)


def _digests(context: SourceContext) -> LocalDigests:
    from modelfetch.sources.local_digests import LocalDigests, NoDigests

    return LocalDigests(context.digests or NoDigests(), context.cancel)


def _regular(path: Path) -> os.stat_result | None:
    """The status of a regular file, links followed; None for anything else."""
    try:
        found = os.stat(path)  # noqa: PTH116 - faster than Path.stat, for thousands of files
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def in_store(store: Store) -> Finder:
    """Make a finder for placed models in this cache, whose blob may have been lost."""

    @cache  # once a run: reading all receipts for each file would take longer than fetching small files
    def placed() -> dict[str, list[Path]]:
        return store.placed()

    def find(manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        yield store.directory(manifest) / file.path
        yield from placed().get(file.sha256, ())

    return find
