"""Selects the files of a listing that a pin has. Pure.

The rules, in this order::

    --include   keeps files whose whole path matches a pattern, as `hf download` does; `*` matches `/` too
    parts       of a split GGUF, or of sharded safetensors with their index, are kept whole
    --exclude   drops files; dropping a part of what is kept whole is an error
    default     `.gitattributes` is dropped: it belongs to the repository, not to the model

A pattern that matches nothing is an error that names it: it is misspelled, or the file has another name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from glob import escape, has_magic
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.parse import FILES_LIMIT
from modelfetch.model.paths import clashes, why_unsafe
from modelfetch.model.text import did_you_mean, quote, shell_quoted

if TYPE_CHECKING:
    from modelfetch.upstreams.base import Listing, UpstreamFile

_LONGEST: Final = 200
"""Characters of a path that a hint repeats; those of a hub may have any number."""
SHOWN: Final = 10
"""Most files that an error lists; more do not help, and a terminal has about 24 lines."""

GUESSED: Final = 1000
"""Most paths that a wrong pattern is compared with for a suggestion; more take seconds."""

_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.(?P<suffix>[A-Za-z0-9]+)")
"""Name of a part, as llama.cpp (``gguf-split``) and the Hugging Face libraries write it:
``model-00001-of-00003.safetensors``."""
_LEFT_OUT: Final = ".gitattributes"
"""Settings of git for a repository; Hugging Face and ModelScope add one to each."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """What a person asks to keep, and to leave out."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    is_repeat: bool = False
    """Whether they were given for an earlier revision. Then it is no error if one excludes nothing, or if a
    path among several is gone."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one file that was split, in the order of their paths."""

    files: tuple[UpstreamFile, ...]
    index: UpstreamFile | None
    """The file that says which tensor is in which part (``model.safetensors.index.json``)."""
    total: int
    """Number of parts, as each of their names states it."""

    @property
    def all(self) -> tuple[UpstreamFile, ...]:
        """The parts, and the index if there is one."""
        return self.files if self.index is None else (*self.files, self.index)


def select(listing: Listing, files: Sequence[UpstreamFile], patterns: Patterns) -> list[UpstreamFile]:
    """Select the files of a pin, in the order of their paths.

    Args:
        listing: Whose patterns apply too, and which errors name.
        files: Its files, each path once.
        patterns: What a person asks for.

    Raises:
        UsageError: A pattern matches nothing, no file is left, a split file would be incomplete, a path
            cannot be used on every file system, or there are too many files.
    """
    where = listing.reference.text
    _check_patterns(where, listing.include, files)
    implied = _included(files, listing.include)
    included = _included(implied, patterns.include)
    _check_patterns(where, _required(patterns) if included else patterns.include, implied)
    split = split_files(files)
    whole = _with_parts(included, split)
    if not patterns.is_repeat:
        _check_patterns(where, patterns.exclude, implied)
    kept = [file for file in whole if not _matches(file.path, patterns.exclude)]
    _check_parts(kept, split)
    kept = [file for file in kept if file.path in patterns.include or not is_left_out(file.path)]
    _check_count(where, kept)
    _check_paths(where, kept)
    return sorted(kept, key=lambda file: file.path)


def split_files(files: Iterable[UpstreamFile]) -> list[Parts]:
    """Find the files that were split, each with all parts that are listed."""
    found: dict[tuple[str, str, str], list[UpstreamFile]] = defaultdict(list)
    by_path = {file.path: file for file in files}
    for path, file in by_path.items():
        if part := _PART.fullmatch(path):
            found[part["stem"], part["total"], part["suffix"]].append(file)
    return [
        Parts(
            tuple(sorted(parts, key=lambda file: file.path)),
            by_path.get(f"{stem}.{suffix}.index.json"),
            int(total),
        )
        for (stem, total, suffix), parts in found.items()
    ]


def is_left_out(path: str) -> bool:
    """Whether pins leave out a file, unless it is asked for by its path."""
    return path.rpartition("/")[2] == _LEFT_OUT


def incomplete(files: Iterable[UpstreamFile]) -> list[str]:
    """Return a line for each split file of which the hub does not list every part."""
    return [
        f"{quote(parts.files[0].path)} is one of {parts.total} parts, but only {len(parts.files)} are listed"
        for parts in split_files(files)
        if len(parts.files) < parts.total
    ]


def _included(files: Sequence[UpstreamFile], patterns: Sequence[str]) -> Sequence[UpstreamFile]:
    """Return the files that a pattern matches; without patterns all of them."""
    return [file for file in files if _matches(file.path, patterns)] if patterns else files


def _required(patterns: Patterns) -> Sequence[str]:
    """Return the patterns that must match a file.

    A pin of an earlier revision may name its files one by one. One that is gone now was removed, like any
    file of a pin without patterns. A pattern with wildcards must still match, as files may have been renamed.
    """
    return [each for each in patterns.include if not patterns.is_repeat or has_magic(each)]


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, _whole(pattern)) for pattern in patterns)


def _whole(pattern: str) -> str:
    """A pattern that ends in a slash means everything in that directory, as for ``hf download``."""
    return f"{pattern}*" if pattern.endswith("/") else pattern


def _with_parts(included: Sequence[UpstreamFile], split: Sequence[Parts]) -> list[UpstreamFile]:
    """Add the other parts, and the index, of every part that is included.

    An index alone adds nothing: ``--include '*.json'`` asks for small files.
    """
    paths = {file.path for file in included}
    added = [
        file
        for parts in split
        if any(file.path in paths for file in parts.files)
        for file in parts.all
        if file.path not in paths
    ]
    return [*included, *added]


def _check_patterns(where: str, patterns: Sequence[str], files: Sequence[UpstreamFile]) -> None:
    """Refuse a pattern that matches none of these files."""
    for pattern in patterns:
        if any(fnmatchcase(file.path, _whole(pattern)) for file in files):
            continue
        guess = did_you_mean(pattern, [file.path for file in files[:GUESSED]])
        names = ", ".join(quote(file.path) for file in files[:SHOWN])
        more = ", ..." if len(files) > SHOWN else ""
        raise UsageError(
            f"the pattern {quote(pattern)} matches no file of {where}.{guess}",
            hint=f"A pattern is compared with whole paths; there are: {names}{more}." if files else "",
        )


def _check_parts(kept: Sequence[UpstreamFile], split: Sequence[Parts]) -> None:
    """Refuse to leave out a part of a split file, without which the others are worth nothing."""
    paths = {file.path for file in kept}
    for parts in split:
        if not any(file.path in paths for file in parts.files):
            continue
        if lost := [file.path for file in parts.all if file.path not in paths]:
            raise UsageError(
                f"{quote(lost[0])} cannot be left out: it is one of the {len(parts.all)} files that "
                f"{quote(parts.files[0].path)} was split into, which are kept whole",
                hint="Exclude all of them, or none.",
            )


def _check_count(where: str, kept: Sequence[UpstreamFile]) -> None:
    if not kept:
        raise UsageError(f"{where} has no file to pin", hint="Check the reference, --include and --exclude.")
    if len(kept) > FILES_LIMIT:
        raise UsageError(
            f"{where} has {len(kept):,} files; a pin can have {FILES_LIMIT:,}",
            hint="Choose some of them with --include.",
        )


def _check_paths(where: str, kept: Sequence[UpstreamFile]) -> None:
    """Refuse paths that some file system cannot have; all of them at once, so that one more run suffices."""
    paths = [file.path for file in kept]
    faults = {path: clause for path in paths if (clause := why_unsafe(path))}
    safe = [path for path in paths if path not in faults]
    faults |= {safe[index]: clause for index, clause in clashes(safe)}
    if not faults:
        return
    count = "a path" if len(faults) == 1 else f"{len(faults)} paths"
    lines = [f"the path {quote(path)} {clause}" for path, clause in list(faults.items())[:SHOWN]]
    if more := len(faults) - SHOWN:
        lines += [f"and {more} more"] * (more > 0)
    raise UsageError(
        "\n".join([f"{where} has {count} that cannot be used on every system:", *lines]),
        hint=f"Leave them out: {' '.join(map(_exclusion, list(faults)[:SHOWN]))}",
    )


def _exclusion(path: str) -> str:
    pattern = escape(path) if len(path) <= _LONGEST else f"{escape(path[:_LONGEST])}*"
    return f"--exclude {shell_quoted(pattern)}"
