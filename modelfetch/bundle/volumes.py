"""Writes one stream of bytes into a file, or into volumes ``FILE.001``, ``FILE.002`` and so on.

Everything is written under temporary names beside the final ones, synced, and renamed at the end, so that no
final name ever has a part of a bundle::

    with Volumes(Path("models.tar"), 4 << 30) as volumes:
        volumes.write(b"...")
        volumes.finish()

The volumes one after the other are the tar: ``cat models.tar.* > models.tar`` joins them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from modelfetch.errors import StoreError, UsageError
from modelfetch.model.text import sanitize
from modelfetch.settings.replace_file import name_new

if TYPE_CHECKING:
    from typing import BinaryIO

VOLUMES_LIMIT: Final = 999
"""Most volumes: their numbers have three digits, so that ``cat FILE.*`` joins them in order."""
SMALLEST: Final = 512
"""Smallest volume in bytes: the first one must hold the first header, which tells what it is."""


class Volumes:
    """A file, or volumes, being written; leaving a ``with`` block drops them unless they were finished.

    Args:
        path: The file, or the name that all volumes begin with.
        volume_size: Most bytes of a volume; None for one file.
        size: Bytes that will be written.

    Raises:
        UsageError: A file of that name exists, or there would be too many volumes.
        StoreError: The disk refused.
    """

    def __init__(self, path: Path, volume_size: int | None, size: int) -> None:
        if volume_size is not None and volume_size < SMALLEST:
            raise UsageError(f"a volume has at least {SMALLEST} bytes", hint="Give a larger --volume-size.")
        count = 1 if volume_size is None else -(-size // volume_size)
        if count > VOLUMES_LIMIT:
            raise UsageError(
                f"there would be {count} volumes; {VOLUMES_LIMIT} are allowed",
                hint="Give a larger --volume-size.",
            )
        self._limit = volume_size or size
        volumes = [path.with_name(f"{path.name}.{number:03}") for number in range(1, count + 1)]
        self.paths = [path] if volume_size is None else volumes
        # A first volume beside the file, or the reverse, would leave open which of them is meant, and a
        # volume behind the last one would count as the next.
        beside = {path.with_name(f"{path.name}.{number:03}") for number in (1, count + 1)}
        for taken in sorted({path, *beside, *self.paths}):
            if os.path.lexists(taken):
                raise UsageError(
                    f"{sanitize(str(taken))} exists already",
                    hint="Choose another name with -o, or delete it.",
                )
        self._temporary: list[Path] = []
        self._file: BinaryIO | None = None
        self._left = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        for path in self._temporary:
            with suppress(OSError):
                path.unlink()

    def write(self, data: bytes | memoryview) -> None:
        """Add the next bytes.

        Raises:
            StoreError: The disk refused.
        """
        view = memoryview(data)
        try:
            while view:
                if not self._left:
                    self._next()
                assert self._file is not None
                self._file.write(view[: self._left])
                written = min(len(view), self._left)
                self._left -= written
                view = view[written:]
        except OSError as error:
            raise self._refusal(error) from error

    def finish(self) -> None:
        """Give all files their final names.

        Raises:
            UsageError: One of the names was taken meanwhile.
            StoreError: The disk refused.
        """
        done: list[Path] = []
        try:
            self._sync()
            for temporary, path in zip(self._temporary, self.paths, strict=True):
                name_new(temporary, path)
                done.append(path)
        except OSError as error:
            for path in done:  # some volumes alone are no bundle
                with suppress(OSError):
                    path.unlink()
            if isinstance(error, FileExistsError):
                raise UsageError(
                    f"{sanitize(str(self.paths[0]))} exists already", hint="Choose another name with -o."
                ) from error
            raise self._refusal(error) from error

    def _next(self) -> None:
        self._sync()
        path = self.paths[len(self._temporary)]
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        self._file = temporary.open("xb")
        self._temporary.append(temporary)
        self._left = self._limit

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _refusal(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot write {sanitize(str(self.paths[0]))}: {error.strerror}",
            hint="Choose a place with enough space that you may write to, with -o.",
        )
