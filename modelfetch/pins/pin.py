"""Makes a pin: resolves references, combines what they state, and computes what none of them states.

::

    listings = [upstream.resolve(reference) for each reference]
    selected = the files of the first listing that the patterns keep
    combined = the selected files, with what the other listings state about them
               (a small file that only one of two hubs states is read from the other one, and compared)
    digests  = stated ones as they are; the others from the bytes themselves, read once

Several references are several sources of one manifest. They must state the same digest for the same path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from modelfetch.errors import ManifestError, UnavailableError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.manifest import FileSpec, Manifest, PinOrigin
from modelfetch.model.parse import WORDS_LIMIT, load_manifest
from modelfetch.model.reference import DiskReference, RepoReference
from modelfetch.model.text import quote, sanitize
from modelfetch.model.units import format_size
from modelfetch.model.write import manifest_toml
from modelfetch.pins.combine import combine, unique_files
from modelfetch.pins.computing import compute_all
from modelfetch.pins.cross_check import cross_check
from modelfetch.pins.naming import checked_name, format_of, model_name, version_of
from modelfetch.pins.select import Patterns, incomplete, select
from modelfetch.pins.variants import Variant, VariantsError, beside, companions_of, variants_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelfetch.model.reference import Reference
    from modelfetch.pins.combine import Combined
    from modelfetch.pins.digests import Digests
    from modelfetch.store.intake import FileDigest
    from modelfetch.upstreams.base import Listing, Upstream, UpstreamFile

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PinRequest:
    """What a person asks to pin."""

    references: tuple[Reference, ...]
    """At least one. The first one decides which files there are, and the name."""
    name: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    license: str | None = None
    """Overrides what the upstream states."""
    is_repeat: bool = False
    """Whether an existing pin was asked for like this, and its revision moves. Then a pattern that excludes
    nothing any more is no error."""


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a pin, and who vouches for its digest."""

    file: FileSpec
    stated_by: tuple[str, ...]
    """The upstreams that state its digest; empty if it was computed here."""
    fetched: int = 0
    """Bytes that were read over the network to compute or compare it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A manifest that can be written, with how it came about."""

    manifest: Manifest
    files: tuple[PinnedFile, ...]
    notices: tuple[str, ...] = ()
    """Lines for the user: agreements and gaps between upstreams, renamed repositories, trust on first use."""

    first_use: str = ""
    """The one of these lines that says which digests were computed here; empty if all were stated."""

    @property
    def fetched(self) -> int:
        """Bytes read over the network to compute or compare digests."""
        return sum(file.fetched for file in self.files)


UpstreamFor = Callable[["Reference"], "Upstream"]
"""Returns the upstream of a reference; see :func:`modelfetch.upstreams.registry.open_upstream`."""
Choose = Callable[[Sequence[Variant]], Variant]
"""Lets a person choose one of several variants."""
CheckName = Callable[[str, PinRequest], None]
"""Refuses a name that cannot be pinned; called before any file is read. The request has the pattern of the
variant that was chosen."""


def make_pin(
    request: PinRequest,
    upstream_for: UpstreamFor,
    digests: Digests,
    *,
    choose: Choose | None = None,
    check_name: CheckName = lambda *_: None,
) -> Pin:
    """Make a pin. Nothing is written but what ``digests`` keeps.

    Args:
        request: What a person asks for.
        upstream_for: Finds the upstream of each reference.
        digests: Computes the digests that no upstream states.
        choose: Chooses a variant of a GGUF repository; None refuses it with the list of its variants.
        check_name: Raises if the name is taken.

    Raises:
        UsageError: A reference, pattern, path or name is wrong, or (as VariantsError) no variant was chosen.
        UnknownModelError: A reference names nothing.
        IntegrityError: References do not agree, or bytes are not what was stated.
        AuthorizationError: Credentials are missing, wrong or insufficient.
        UnavailableError: A hub cannot be reached, or states what no manifest can hold.
        Cancelled: The run was cancelled.
    """
    upstreams = [upstream_for(reference) for reference in request.references]
    listings = [
        upstream.resolve(reference) for upstream, reference in zip(upstreams, request.references, strict=True)
    ]
    _check_tables(listings)
    page = _implied(request.references[0], listings[0])
    _check_folder(request, listings[0], page)
    files = unique_files(listings[0])
    request, variant = _with_variant(request, listings[0], files, choose)
    patterns = Patterns(request.include, request.exclude, request.is_repeat)
    combined = combine(select(listings[0], files, patterns), listings)
    name = checked_name(request.name) if request.name is not None else model_name(listings[0].name, variant)
    check_name(name, request)
    checked = cross_check(combined, listings, upstreams, digests)
    pinned = _pinned(combined, upstreams[0], digests, checked.fetched)
    first_use = _first_use(combined, pinned, listings[0])
    notices = (
        *(notice for listing in listings for notice in listing.notices),
        *incomplete(files=[each.file for each in combined]),
        *(beside(companions_of(files)) if variant else ()),
        *checked.agreements,
        *filter(None, [first_use]),
    )
    origin = replace(request, include=request.include or page)
    manifest = _manifest(origin, listings, pinned, name)
    _check_valid(manifest, listings[0])
    return Pin(manifest, tuple(pinned), notices, first_use)


def _check_valid(manifest: Manifest, listing: Listing) -> None:
    """Refuse what could not be read again, also where nothing is written, as with ``--dry-run``.

    What an upstream states is checked as it arrives, but not against the rules of a whole manifest: it may
    state two sizes for one digest, for example.
    """
    try:
        load_manifest(Path(f"{manifest.name}.toml"), manifest_toml(manifest).encode())
    except ManifestError as error:
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        raise UnavailableError(
            f"{quote(listing.reference.text)} states what no manifest can hold: {error.faults[0]}{more}",
            hint="Leave the file out with --exclude, or pin from another source.",
        ) from error


def _with_variant(
    request: PinRequest, listing: Listing, files: Sequence[UpstreamFile], choose: Choose | None
) -> tuple[PinRequest, str]:
    """Ask for a variant, if there are several and no pattern chooses between them.

    Returns:
        The request, with the pattern of the variant, and the variant's label or an empty string.
    """
    if request.include or listing.include:
        return request, ""
    variants = variants_of(_remaining(request, listing, files))
    if len(variants) < 2:
        return request, ""
    if choose is None:
        raise VariantsError(request.references[0].text, variants, companions_of(files), listing.name)
    chosen = choose(variants)
    return replace(request, include=(chosen.pattern,)), chosen.label


def _remaining(request: PinRequest, listing: Listing, files: Sequence[UpstreamFile]) -> list[UpstreamFile]:
    """The files that ``--exclude`` leaves."""
    if not request.exclude:
        return list(files)
    return select(listing, files, Patterns((), request.exclude, request.is_repeat))


def _pinned(
    combined: Sequence[Combined], upstream: Upstream, digests: Digests, fetched: Mapping[str, int]
) -> list[PinnedFile]:
    """Pin files: with the stated digests, or with those that their bytes have.

    Args:
        combined: The files.
        upstream: Where files without a stated digest are read.
        digests: Computes those.
        fetched: Bytes that were read to compare stated digests, by path.
    """
    unstated = [each.file for each in combined if each.file.sha256 is None or each.file.size is None]
    computed = dict(
        zip((file.path for file in unstated), compute_all(unstated, upstream, digests), strict=True)
    )
    return [
        _pinned_file(each, computed.get(each.file.path), fetched.get(each.file.path, 0)) for each in combined
    ]


def _pinned_file(each: Combined, computed: FileDigest | None, compared: int) -> PinnedFile:
    file = each.file
    if computed is not None:
        fetched = 0 if file.disk is not None else computed.size
        return PinnedFile(_spec(file, computed.size, computed.sha256), each.stated_by, fetched)
    assert file.size is not None, "else it was computed"
    assert file.sha256 is not None, "else it was computed"
    return PinnedFile(_spec(file, file.size, file.sha256), each.stated_by, compared)


def _spec(file: UpstreamFile, size: int, sha256: str) -> FileSpec:
    return FileSpec(file.path, size, sha256, file.cid, urls=file.urls, executable=file.executable)


def _check_tables(listings: Sequence[Listing]) -> None:
    """Refuse two repositories of one hub: a manifest names one of each."""
    for table in ("huggingface", "modelscope", "oci"):
        named = [listing for listing in listings if getattr(listing, table) is not None]
        if len(named) > 1:
            raise UsageError(
                f"{named[0].reference.text} and {named[1].reference.text} are on the same hub; "
                "a pin has one repository of each",
                hint="Pin them one by one, each under its own --name.",
            )


def _implied(asked: Reference, listing: Listing) -> tuple[str, ...]:
    """The patterns of a page's address, which the text of its reference does not have."""
    return listing.include if isinstance(asked, RepoReference) and asked.tail else ()


def _check_folder(request: PinRequest, listing: Listing, page: Sequence[str]) -> None:
    """Refuse patterns on top of a page's folder: the pin could not state both, and ``upgrade`` needs it."""
    if request.include and page:
        raise UsageError(
            f"the address names {', '.join(page)} of {listing.reference.text}; "
            "--include cannot narrow that further",
            hint=f"Name the repository and the whole path: {listing.reference.text} --include '...'.",
        )


def _first_use(combined: Sequence[Combined], pinned: Sequence[PinnedFile], listing: Listing) -> str:
    """Say which digests are trusted because of what one source sent now; empty if there are none."""
    computed = [(each.file, one) for each, one in zip(combined, pinned, strict=True) if not one.stated_by]
    if not computed:
        return ""
    size = format_size(sum(one.file.size for _, one in computed))
    count = "1 file" if len(computed) == 1 else f"{len(computed)} files"
    if all(file.disk is not None for file, _ in computed):
        return f"the SHA-256 of {count} ({size}) is that of the files on this disk as they are now"
    if all(file.cid is not None for file, _ in computed):
        return f"the SHA-256 of {count} ({size}) is computed here, from bytes that are proven by their CIDs"
    is_checked = all(file.git_blob is not None for file, _ in computed)
    checked = ", which match their git blob ids" if is_checked else ""
    source = sanitize(listing.reference.text)
    line = f"no hub states the SHA-256 of {count} ({size}): computed here from the bytes of {source} alone"
    return f"{line}{checked} (trust on first use)"


def _manifest(
    request: PinRequest, listings: Sequence[Listing], pinned: Sequence[PinnedFile], name: str
) -> Manifest:
    first = listings[0]
    files = tuple(one.file for one in pinned)
    named = {who for one in pinned for who in one.stated_by}
    stated = dict.fromkeys(listing.stated_by for listing in listings if listing.stated_by in named)
    origin = PinOrigin(
        ref=origin_text(request.references[0], first.reference),
        include=request.include,
        exclude=request.exclude,
        added=f"{datetime.now(UTC).date()}",
        stated=", ".join(stated) or "computed",
    )
    manifest = Manifest(
        name=name,
        version="0",
        files=files,
        kind=first.kind,
        title=_words(first.title),
        license=_words(request.license or _first(listing.license for listing in listings) or ""),
        homepage=first.homepage,
        huggingface=_first(listing.huggingface for listing in listings),
        modelscope=_first(listing.modelscope for listing in listings),
        oci=_first(listing.oci for listing in listings),
        format=format_of(files),
        upstream=origin,
    )
    return replace(manifest, version=version_of(first.revision, manifest.identity))


def origin_text(asked: Reference, found: Reference) -> str:
    """Return ``[upstream].ref``: the reference as it was asked for, so that it is recognized next time.

    Args:
        asked: The reference that a person gave.
        found: The same one with the names as the hub spells them.
    """
    if isinstance(asked, DiskReference):
        return os.path.abspath(asked.path)  # noqa: PTH100 - the next command may run in another directory
    if isinstance(asked, RepoReference) and asked.tail:
        return found.text  # only the hub knows which part of a page's address is the revision
    return asked.text


def _first(values: Iterable[_T | None]) -> _T | None:
    return next((value for value in values if value), None)


def _words(text: str) -> str:
    return sanitize(text)[:WORDS_LIMIT]
