"""Writes CAR files, under their final names only when they are complete.

A CAR file that is there already is no error if it is the same: so a run that was interrupted later, during an
upload, can be repeated. Anything else is never replaced.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.regular_file import open_regular
from modelfetch.model.text import sanitize
from modelfetch.settings.replace_file import name_new

if TYPE_CHECKING:
    from modelfetch.publish.car_stream import CarStream

CAR_SUFFIX: Final = ".car"


@dataclass(frozen=True, slots=True)
class WrittenCar:
    """A CAR file."""

    path: Path
    size: int
    is_new: bool
    """False if the same file was there."""


def car_path(given: Path, name: str, suffix: str) -> Path:
    """Where a CAR file goes; in a directory it is called after the model."""
    return given / f"{name}{suffix}" if given.is_dir() else given


def check_free(path: Path) -> None:
    """Check that a CAR file can be written, before anything is hashed.

    Raises:
        StoreError: Its directory does not exist.
        UsageError: Something that is no CAR file has the name.
    """
    if not path.parent.is_dir():
        raise StoreError(
            f"cannot write {sanitize(str(path))}: its directory does not exist", hint="Create it first."
        )
    if os.path.lexists(path) and not path.is_file():
        raise _taken(path)


def write_car(path: Path, car: CarStream) -> WrittenCar:
    """Write a CAR file.

    Raises:
        IntegrityError: A file of the model changed since it was hashed.
        StoreError: The disk refused, or a file cannot be read.
        UsageError: There is another file of this name.
    """
    if os.path.lexists(path):
        if not _is_same(path, car):
            raise _taken(path)
        return WrittenCar(path, car.size, is_new=False)
    # In the same directory: rename() is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        with temporary.open("xb") as file:
            for piece in car.pieces():
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())  # before it gets its name, or a power cut may leave a part of it there
        name_new(temporary, path)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise _taken(path) from error
        raise StoreError(
            f"cannot write {sanitize(str(path))}: {(error.strerror or 'unknown error').lower()}",
            hint="Choose a place with enough space that you may write to.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return WrittenCar(path, car.size, is_new=True)


def _is_same(path: Path, car: CarStream) -> bool:
    try:
        with open_regular(path) as opened:
            if os.fstat(opened.fileno()).st_size != car.size:
                return False
            for piece in car.pieces():
                view = memoryview(piece)
                while view:
                    found = opened.read(len(view))
                    if not found or found != view[: len(found)]:
                        return False
                    view = view[len(found) :]
    except OSError:
        return False
    return True


def _taken(path: Path) -> UsageError:
    return UsageError(f"{sanitize(str(path))} exists already", hint="Choose another name, or delete it.")
