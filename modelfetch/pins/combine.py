"""Combines what several listings state about the same files. Pure.

The first listing decides which files there are. Every other one must state the same size and digest for a
path that it has too; a file that it does not have is a gap, which a notice reports. What one of them states
is pinned. :mod:`modelfetch.pins.cross_check` compares it with the bytes of a hub that states no SHA-256::

    hf:org/repo   config.json   574 bytes   git blob id only
    ms:org/repo   config.json   574 bytes   SHA-256           -> stated by modelscope
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.errors import IntegrityError, UnavailableError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.text import quote, shell_quoted

if TYPE_CHECKING:
    from modelfetch.upstreams.base import Listing, UpstreamFile

SHOWN: Final = 5
"""Most files that an error lists with both digests, which take two long lines each."""


@dataclass(frozen=True, slots=True)
class Combined:
    """One file of the first listing, with what all listings state about it."""

    file: UpstreamFile
    """As the first listing has it, with size, digest and addresses from wherever they are stated."""
    source: UpstreamFile
    """As the first listing has it: where its bytes are read."""
    stated_by: tuple[str, ...]
    """The upstreams that state its SHA-256; empty if it has to be computed."""


def unique_files(listing: Listing) -> list[UpstreamFile]:
    """Return the files of a listing, each path once.

    A path may be listed twice if the hub's pages moved while they were read.

    Raises:
        UnavailableError: A path is listed twice with different content.
    """
    found: dict[str, UpstreamFile] = {}
    for file in listing.files:
        before = found.setdefault(file.path, file)
        if why_different(before, file):
            raise UnavailableError(
                f"{listing.reference.text} lists {quote(file.path)} twice, with different content",
                hint="It may have changed while it was listed: try again.",
            )
    return list(found.values())


def combine(selected: Sequence[UpstreamFile], listings: Sequence[Listing]) -> list[Combined]:
    """Combine the selected files of the first listing with what all listings state about them.

    Raises:
        IntegrityError: Two of them state a different size or digest; the message names both.
        UsageError: A listing has none of the selected files.
        UnavailableError: A listing contradicts itself.
    """
    tables = [{file.path: file for file in unique_files(listing)} for listing in listings[1:]]
    wanted = {file.path for file in selected}
    for listing, table in zip(listings[1:], tables, strict=True):
        if not wanted & table.keys():
            raise UsageError(
                f"{listing.reference.text} has none of the files of {listings[0].reference.text}",
                hint="References that are named together must have the same files under the same paths.",
            )
    _check_agreement(selected, listings, tables)
    return [_combined(file, listings, tables) for file in selected]


def agreements(combined: Sequence[Combined], listings: Sequence[Listing]) -> list[str]:
    """Return a line for each further listing: how many files it has, and on how many digests it agrees."""
    lines = []
    for listing in listings[1:]:
        table = {file.path: file for file in listing.files}
        shared = [each for each in combined if each.file.path in table]
        proven = sum(_is_stated_twice(each.source, table[each.file.path]) for each in shared)
        missing = len(combined) - len(shared)
        gap = f"; it does not have {missing} of {len(combined)} files" if missing else ""
        lines.append(
            f"{listing.reference.text} agrees with {listings[0].reference.text} on {_files(proven)} "
            f"by SHA-256{_by_size(len(shared) - proven)}{gap}"
        )
    return lines


def why_different(first: UpstreamFile, second: UpstreamFile) -> bool:
    """Whether two statements about one path contradict each other."""
    pairs = (
        (first.size, second.size),
        (first.sha256, second.sha256),
        (first.git_blob, second.git_blob),
    )
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _check_agreement(
    selected: Sequence[UpstreamFile], listings: Sequence[Listing], tables: Sequence[dict[str, UpstreamFile]]
) -> None:
    """Compare each file with what every other listing states, also two that are not the first."""
    lines: list[str] = []
    paths: list[str] = []
    for file in selected:
        statements = [(listings[0], file)]
        for listing, table in zip(listings[1:], tables, strict=True):
            other = table.get(file.path)
            if other is None:
                continue
            if (against := _contradicted(statements, other)) is not None:
                lines.append(f"{quote(file.path)}: {_statement(*against)}; {_statement(listing, other)}")
                paths.append(file.path)
                break
            statements.append((listing, other))
    if not lines:
        return
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    exclusions = " ".join(f"--exclude {shell_quoted(path)}" for path in paths[:SHOWN])
    raise IntegrityError(
        "\n".join([f"the references do not agree on {_files(len(lines))}:", *lines[:SHOWN], *more]),
        hint=f"Pin one of them alone, or leave these files out: {exclusions}",
    )


def _contradicted(
    statements: Sequence[tuple[Listing, UpstreamFile]], other: UpstreamFile
) -> tuple[Listing, UpstreamFile] | None:
    return next((each for each in statements if why_different(each[1], other)), None)


def _statement(listing: Listing, file: UpstreamFile) -> str:
    size = "unknown size" if file.size is None else f"{file.size} bytes"
    blob = f"git blob id {file.git_blob}" if file.git_blob else "no digest"
    return f"{listing.reference.text} has {f'SHA-256 {file.sha256}' if file.sha256 else blob}, {size}"


def _combined(
    file: UpstreamFile, listings: Sequence[Listing], tables: Sequence[dict[str, UpstreamFile]]
) -> Combined:
    found = [(listings[0], file)]
    found += [
        (listing, table[file.path])
        for listing, table in zip(listings[1:], tables, strict=True)
        if file.path in table
    ]
    each = [entry for _, entry in found]
    merged = replace(
        file,
        size=next((entry.size for entry in each if entry.size is not None), None),
        sha256=next((entry.sha256 for entry in each if entry.sha256), None),
        git_blob=next((entry.git_blob for entry in each if entry.git_blob), None),
        cid=next((entry.cid for entry in each if entry.cid), None),
        urls=tuple(dict.fromkeys(url for entry in each for url in entry.urls)),
        executable=any(entry.executable for entry in each),
    )
    names = dict.fromkeys(listing.stated_by for listing, entry in found if entry.sha256)
    return Combined(merged, file, tuple(names))


def _is_stated_twice(first: UpstreamFile, second: UpstreamFile) -> bool:
    return first.sha256 is not None and first.sha256 == second.sha256


def _by_size(count: int) -> str:
    return f" and on {_files(count)} by size alone" if count else ""


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"
