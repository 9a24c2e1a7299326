"""Files in a model's directory that its manifest does not list: programs that load a directory read them.

They are found by name alone. Moved out at once are only those of a directory that has just become a
manifest's own, as an unfinished run of another leaves them; later ones are told, and wait for a person.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from modelfetch.errors import StoreError
from modelfetch.model.paths import DEPTH, caseless
from modelfetch.store.disk import Disk
from modelfetch.store.files import hash_file, is_plain, is_same_file
from modelfetch.store.layout import Layout
from modelfetch.store.owner import is_temporary
from modelfetch.store.quarantine import Quarantine, Quarantined
from modelfetch.store.receipt import Receipt


class Unlisted:
    """Finds and moves out what does not belong to a model."""

    def __init__(self, disk: Disk, layout: Layout, quarantine: Quarantine) -> None:
        self._disk = disk
        self._layout = layout
        self._quarantine = quarantine

    def find(self, directory: Path, listed: Sequence[str]) -> list[str]:
        """Name what lies below a directory, links and devices too, and is not listed; sorted.

        Temporary files of this program are passed over: another process may be at work. Where names differ in
        case only and are one file, the spelling on the disk may be an older one; that file is listed.
        """
        found = list(self._below(directory, ""))
        strange = set(found) - set(listed)
        if not strange:
            return []
        respelled = {caseless(path): path for path in set(listed) - set(found)}
        return sorted(
            path for path in strange if not self._is_same(directory, path, respelled.get(caseless(path)))
        )

    def _is_same(self, directory: Path, path: str, listed: str | None) -> bool:
        """Whether the file system takes two spellings for one name."""
        if listed is None:
            return False
        return is_same_file(self._disk, directory / path, directory / listed)

    def _below(self, directory: Path, prefix: str, depth: int = DEPTH) -> Iterator[str]:
        """Every name that is not itself a directory, or lies deeper than a model's paths may be."""
        found = self._disk.lstat(directory)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return
        for name, is_directory in self._disk.entries(directory):
            if is_directory and depth > 1:
                yield from self._below(directory / name, f"{prefix}{name}/", depth - 1)
            elif not is_temporary(name):
                yield f"{prefix}{name}"

    def move_out(self, receipt: Receipt) -> None:
        """Clear a directory, which has become that of a receipt, of all else; as far as permitted."""
        directory = self._layout.version(receipt.name, receipt.label)
        with suppress(StoreError):
            for path in self.find(directory, [file.path for file in receipt.files]):
                with suppress(StoreError):  # what cannot go, as of another user, keeps nothing else here
                    self.put_aside(directory, path)

    def put_aside(self, directory: Path, path: str) -> Quarantined | None:
        """Take one file out; bytes that are among the blobs need no second place, and a link has none."""
        target = directory / path
        kept = None
        if is_plain(self._disk, target):
            digest = hash_file(self._disk, target)
            if not is_same_file(self._disk, self._layout.blob(digest), target):
                kept = self._quarantine.move_unlisted(target, path, digest)
        if kept is None:
            self._disk.unlink(target)
        self._prune(target.parent, directory)
        return kept

    def _prune(self, directory: Path, top: Path) -> None:
        """Remove the directories that are empty now, up to the model's own."""
        while directory != top and self._disk.rmdir(directory):
            directory = directory.parent
