"""Files in the directory of another program, such as the cache of the Hugging Face libraries.

There this program is a guest: it adds what is missing, uses what is right, and replaces nothing.
"""

from __future__ import annotations

from pathlib import Path

from modelfetch.errors import UsageError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.text import sanitise
from modelfetch.store.directories import Directories
from modelfetch.store.disk import Disk
from modelfetch.store.files import is_plain, is_same_file, make_directories
from modelfetch.store.layout import Layout, inside, within
from modelfetch.store.place import has_bytes, install, place_free


class Guest:
    """Looks and places there, with the bytes of one cache."""

    def __init__(self, disk: Disk, layout: Layout, directories: Directories) -> None:
        self._disk = disk
        self._layout = layout
        self._directories = directories

    def is_free(self, directory: Path, path: str, file: FileSpec) -> bool:
        """Look whether a file may be placed.

        Links are followed, as that program does: its snapshots are links to its blobs.

        Args:
            directory: The directory.
            path: Where the file would go below it.
            file: What it must be.

        Returns:
            Whether the name is free; False when the right bytes are there.

        Raises:
            UsageError: Something else has the name, or it leads out of the directory.
        """
        target = within(directory.absolute(), path)
        if self._disk.stat(target) is None:  # a link that leads nowhere holds nothing
            return True
        found = target.resolve()
        blob = self._layout.blob(file.sha256)
        if not (is_same_file(self._disk, blob, found) or has_bytes(self._disk, found, file)):
            raise UsageError(
                f"{sanitise(str(target))} is there already, and has other bytes than are pinned",
                hint="It is another program's file and stays: move it away, or leave --layout hf out.",
            )
        return False

    def place(self, directory: Path, manifest: Manifest, file: FileSpec, path: str) -> None:
        """Put a verified file there, if it is not there yet.

        Args:
            directory: Made when missing.
            manifest: The model; its file stands in where the blob is gone.
            file: One of its files.
            path: Where it goes below the directory.

        Raises:
            UsageError: A different file has the name.
            StoreError: The disk refused.
        """
        top = directory.absolute()
        if not self.is_free(top, path, file):
            return
        target, held = within(top, path), self._layout.blob(file.sha256)
        if not is_plain(self._disk, held):
            held = inside(self._directories.path(manifest), file.path)
        make_directories(self._disk, top, target.parent, durable=True)
        if self._disk.lstat(target) is not None and self._disk.stat(target) is None:
            install(self._disk, held, target, file)
        elif not place_free(self._disk, held, target, file):
            self.is_free(top, path, file)  # another program was faster
        self._disk.sync_directory(target.parent)
