"""Compares references with the origin of pins, the table ``[upstream]``. Pure.

The same repository may be named in several ways, and each has to find the pin::

    hf:org/repo   hf:org/repo@main   https://huggingface.co/org/repo/tree/main

A pin is also found by its second hub, if no pin has that reference for its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.reference import (
    DiskReference,
    GithubReference,
    ObjectReference,
    OciReference,
    OllamaReference,
    RepoReference,
    UrlReference,
)
from modelfetch.model.text import quote
from modelfetch.pins.pin import origin_text

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest, PinOrigin
    from modelfetch.model.reference import Reference

_BRANCHES: Final = {"hf": "main", "ms": "master"}
"""Default branches: Hugging Face's, and ModelScope's."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pin must have been made from."""

    reference: Reference
    others: tuple[Reference, ...] = ()
    """Further sources that it must have."""
    patterns: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    """The ``include`` and ``exclude`` patterns; None for any."""

    @property
    def needle(self) -> bytes:
        """Bytes that the text of every such manifest contains."""
        if isinstance(self.reference, RepoReference):
            return self.reference.repo.encode()
        # TOML escapes quotes and backslashes, which a path may have.
        text = origin_text(self.reference, self.reference)
        return b"[upstream]" if set(text) & set('"\\') else text.encode()


def is_pin_of(manifest: Manifest, wanted: Wanted) -> bool:
    """Whether a manifest was pinned from these references, with these patterns."""
    origin = manifest.upstream
    if origin is None or not all(_has_source(manifest, other) for other in wanted.others):
        return False
    return any(
        origin.ref == text and _has_patterns(origin, implied, wanted.patterns)
        for text, implied in _spellings(wanted.reference)
    )


def _has_patterns(
    origin: PinOrigin,
    implied: tuple[tuple[str, ...], ...],
    asked: tuple[tuple[str, ...], tuple[str, ...]] | None,
) -> bool:
    """Whether a pin has the patterns of a page's address, and those that were asked for."""
    if implied and origin.include not in implied:
        return False
    if asked is None:
        return True
    include, exclude = asked
    if implied and not include:
        return origin.exclude == exclude
    return (origin.include, origin.exclude) == (include, exclude)


def is_source_of(manifest: Manifest, wanted: Wanted) -> bool:
    """Whether a reference is no ``ref`` of a pin, but a repository that it names, at the same revision.

    That is the second hub of a pin of two, or the new name of a repository that was pinned by its old name.
    """
    origin, reference = manifest.upstream, wanted.reference
    if origin is None or not isinstance(reference, RepoReference) or reference.tail:
        return False
    if not all(_has_source(manifest, each) for each in (reference, *wanted.others)):
        return False
    table = manifest.huggingface if reference.hub == "hf" else manifest.modelscope
    if table is None or table.type != reference.type:
        return False
    branch = _BRANCHES[reference.hub]
    scheme, _, rest = origin.ref.partition(":")
    followed = rest.partition("@")[2] or branch
    # The pin does not say which branch of a further hub was meant: `upgrade` takes the default one.
    revisions = {followed} if scheme == reference.hub else {branch, table.revision}
    if (reference.revision or branch) not in revisions:
        return False
    return wanted.patterns in (None, (origin.include, origin.exclude))


def at_revision(reference: Reference, revision: str) -> Reference:
    """Return a reference at another revision, as ``--revision`` asks.

    Raises:
        UsageError: Such a reference has no revisions, or this cannot be one.
    """
    from modelfetch.model.parse_reference import parse_reference

    moved = _moved(reference, revision)
    plain = replace(moved, tail="") if isinstance(moved, RepoReference) else moved
    # A revision becomes a part of URLs, so it must be one that a reference may have.
    if parse_reference(moved.text, exists=lambda _: False) != plain:
        raise UsageError(f"{quote(revision)} is no revision of {quote(reference.text)}")
    return moved


def _moved(reference: Reference, revision: str) -> Reference:
    if isinstance(reference, RepoReference):
        return replace(reference, revision=revision)
    if isinstance(reference, GithubReference | OllamaReference):
        return replace(reference, tag=revision)
    if isinstance(reference, OciReference):
        is_digest = revision.startswith("sha256:")
        tag, digest = (None, revision) if is_digest else (revision, None)
        return replace(reference, tag=tag, digest=digest)
    raise UsageError(f"{quote(reference.text)} has no revisions to choose from", hint="Leave out --revision.")


def _spellings(reference: Reference) -> Iterator[tuple[str, tuple[tuple[str, ...], ...]]]:
    """Yield the texts that a pin's ``ref`` may have, each with the patterns that its address implies."""
    if not isinstance(reference, RepoReference):
        yield origin_text(reference, reference), ()
        return
    if not reference.tail:
        yield from ((text, ()) for text in _with_default(reference))
        return
    # The revision of a page's address may have slashes, too.
    parts = f"{reference.revision}/{reference.tail}".split("/")
    for end in range(1, len(parts)):
        folder = "/".join(parts[end:])
        for text in _with_default(replace(reference, revision="/".join(parts[:end]), tail="")):
            yield text, ((folder,), (f"{folder}/*",))
    whole = replace(reference, revision="/".join(parts), tail="")
    yield from ((text, ()) for text in _with_default(whole))


def _with_default(reference: RepoReference) -> Iterator[str]:
    """Yield the text of a reference, also without the default branch, or with it."""
    yield reference.text
    branch = _BRANCHES[reference.hub]
    if reference.revision in (None, branch):
        yield replace(reference, revision=branch if reference.revision is None else None).text


def _has_source(manifest: Manifest, reference: Reference) -> bool:
    """Whether a manifest names a source. A source of which it keeps no trace counts as named."""
    if isinstance(reference, RepoReference):
        table = manifest.huggingface if reference.hub == "hf" else manifest.modelscope
        return table is not None and table.repo == reference.repo
    if isinstance(reference, OciReference):
        return manifest.oci == f"{reference.registry}/{reference.repository}"
    if isinstance(reference, UrlReference):
        return any(reference.url in file.urls for file in manifest.files)
    if isinstance(reference, ObjectReference):
        return any(url.startswith(reference.text) for file in manifest.files for url in file.urls)
    return not isinstance(reference, DiskReference)
