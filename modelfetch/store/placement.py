"""Places verified blobs in the directories of models.

A directory belongs to the manifest that was first there (:mod:`modelfetch.store.model_directories`). Where a
file of another one is in the way, all files go to the next directory instead; nothing verified is replaced::

    models/whisper/1/model.bin              of another manifest, with other bytes
    models/whisper/1+3f9a0c11d2e4/model.bin
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.store.files import is_same_file, make_directories
from modelfetch.store.linking import Placed, install, may_link, place_free

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout
    from modelfetch.store.model_directories import Directories
    from modelfetch.store.quarantine import Quarantine


class Placement:
    """Places the files of one cache. Several threads may call its methods at the same time.

    Args:
        disk: The disk.
        layout: The paths of the cache.
        directories: The directory of each model.
        quarantine: Takes wrong bytes that are in the way.
    """

    def __init__(self, disk: Disk, layout: Layout, directories: Directories, quarantine: Quarantine) -> None:
        self._disk = disk
        self._layout = layout
        self._directories = directories
        self._quarantine = quarantine

    def place(self, manifest: Manifest, file: FileSpec, quarantine_source: str | None = None) -> Placed:
        """Place a verified blob; see :meth:`modelfetch.store.Store.place`."""
        blob = self._layout.blob(file.sha256)
        with self._disk.reuse_directories():
            while True:
                label = self._directories.label(manifest)
                target = self._layout.file(manifest.name, label, file.path)
                if self._directories.replaces(manifest):
                    return self.replace(self._layout.root, blob, target, file, quarantine_source)
                make_directories(self._disk, self._layout.root, target.parent, durable=True)
                if place_free(self._disk, blob, target, file):
                    return Placed(target)
                self._directories.move_on(manifest, label)

    def replace(
        self, root: Path, held: Path, target: Path, file: FileSpec, quarantine_source: str | None
    ) -> Placed:
        """Place a verified file under a name, whatever has it now.

        Args:
            root: The directory below which the name is; the directories between are created.
            held: The file.
            target: The name.
            file: What the file is.
            quarantine_source: The source of a wrong file that has the name. Its bytes are quarantined first;
                if this is None or empty they are dropped.
        """
        make_directories(self._disk, root, target.parent, durable=True)
        if may_link(file) and is_same_file(self._disk, held, target):
            return Placed(target)
        quarantined = None
        if quarantine_source:
            quarantined = self._quarantine.displace(target, file, source=quarantine_source)
        install(self._disk, held, target, file)
        return Placed(target, quarantined)

    def final_label(self, manifest: Manifest) -> str:
        """Return the label of the directory that has every file; place again what is in abandoned ones."""
        label = self._directories.label(manifest)
        while self._directories.has_moved(manifest):
            for file in manifest.files:
                self.place(manifest, file)
            before, label = label, self._directories.label(manifest)
            if label == before:  # otherwise another process took that directory, too: place once more
                break
        return label
