"""Moves a pin to what its upstream has now, or to a revision that is named.

The pin is made anew from its reference and patterns (:mod:`modelfetch.pins.pin`). What a person wrote into
the manifest stays: title, license, task, mirrors. Only a catalog of the user or of the project is changed.
The old version stays in the cache, under a directory of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelfetch.errors import IntegrityError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.reference import DiskReference, RepoReference
from modelfetch.model.text import did_you_mean, quote, sanitize, shell_word
from modelfetch.pins import matching
from modelfetch.pins.comparison import Comparison, from_difference
from modelfetch.pins.difference import difference
from modelfetch.pins.outdated import is_pinned_revision
from modelfetch.pins.pin import Pin, PinRequest, make_pin
from modelfetch.pins.project_file import is_in_project
from modelfetch.pins.rewrite import replace_unchanged, rewritten
from modelfetch.pins.upstream_state import shown_ref

if TYPE_CHECKING:
    from modelfetch.catalog import CatalogEntry
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.pins.digests import Digests
    from modelfetch.pins.pin import UpstreamFor
    from modelfetch.upstreams.base import Listing, Upstream, UpstreamFile
    from modelfetch.workspace import Workspace

_FIXED: Final[dict[str, tuple[str, str]]] = {
    "built-in": (
        "is a model of the built-in catalog, which comes with modelfetch",
        "It moves with modelfetch itself. To follow its hub: `modelfetch add {ref} --name my-{name}`.",
    ),
    "environment": (
        "lies in a catalog that MODELFETCH_CATALOG names, which other machines may share",
        "Upgrade it where that catalog is kept, or pin it in your own: `modelfetch add {ref}`.",
    ),
}
"""Why a pin of a catalog is not changed, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade changes."""

    old: Manifest
    new: Manifest
    comparison: Comparison
    path: Path
    """The manifest's file."""
    notices: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the pin has the same files already, at the same revision, and follows the same one."""
        pairs = [(each.version, each.identity, shown_ref(each)) for each in (self.old, self.new)]
        return pairs[0] == pairs[1]

    @property
    def document(self) -> dict[str, Any]:
        """The upgrade as JSON."""
        return {
            "name": self.old.name,
            "ref": shown_ref(self.new) or None,
            "before": self.old.version,
            "after": self.new.version,
            "manifest": str(self.path),
            **self.comparison.document,
        }


class _Resolved:
    """An upstream whose answer is known: each hub is asked once, and what was compared is what is pinned."""

    def __init__(self, upstream: Upstream, listing: Listing) -> None:
        self._upstream = upstream
        self._listing = listing

    def resolve(self, reference: Reference) -> Listing:  # noqa: ARG002 - the protocol's parameter
        """Return the listing."""
        return self._listing

    def open(self, file: UpstreamFile) -> AbstractContextManager[Iterator[bytes]]:
        """Open a file of the listing."""
        return self._upstream.open(file)


def editable(workspace: Workspace, name: str) -> tuple[CatalogEntry, Manifest]:
    """Return a pin that can be moved.

    Raises:
        UnknownModelError: No catalog has it.
        ManifestError: Its manifest is wrong.
        UsageError: It has no upstream, or its catalog is not to be changed.
    """
    manifest = workspace.manifests([name])[0]
    entry = workspace.catalog.entry(name)
    if entry.origin in _FIXED:
        reason, hint = _FIXED[entry.origin]
        raise UsageError(
            f"{entry.name} {reason}", hint=hint.format(ref=_reference_text(manifest), name=entry.name)
        )
    if manifest.upstream is None:
        raise UsageError(
            f"{entry.name} names no upstream: its manifest has no [upstream], so it was written by hand",
            hint=f"Pin it again: `modelfetch add {_reference_text(manifest)}` writes one.",
        )
    return entry, manifest


def prepare(
    workspace: Workspace,
    name: str,
    upstream_for: UpstreamFor,
    digests: Digests,
    parse: Callable[[str], Reference],
    revision: str | None = None,
) -> Upgrade:
    """Find out what an upgrade would change; nothing is written but what ``digests`` keeps.

    Args:
        workspace: Settings and catalogs.
        name: Of the model.
        upstream_for: Returns the upstream of a reference.
        digests: Computes digests that the upstream does not state.
        parse: Parses a reference.
        revision: Branch, tag, commit or digest to move to; None for what the pin follows.

    Raises:
        UsageError: The pin cannot be moved, or has no revisions.
        ModelfetchError: As of :func:`modelfetch.pins.pin.make_pin`.
    """
    entry, old = editable(workspace, name)
    assert old.upstream is not None, "checked by `editable`"
    reference = parse(old.upstream.ref)
    _check_own_path(workspace, entry, reference)
    if revision is not None:
        reference = at_revision(reference, revision)
    upstream = upstream_for(reference)
    listing = upstream.resolve(reference)
    if revision is None and is_pinned_revision(old, listing):
        return Upgrade(old, old, Comparison((), len(old.files), 0), entry.path, listing.notices)
    resolved = _Resolved(upstream, listing)
    pin, notices = _made(
        old,
        reference,
        lambda other: resolved if other == reference else upstream_for(other),
        digests,
    )
    new = carried_over(old, pin.manifest)
    if new.identity == old.identity and revision is None:
        new = old  # another revision with the same files: nothing to move
    comparison = from_difference(difference(old, new))
    notices = [*pin.notices, *notices, *_license_notice(old, pin.manifest)]
    return Upgrade(old, new, comparison, entry.path, tuple(notices))


def apply(upgrade: Upgrade) -> list[str]:
    """Write the new manifest into the catalog file of the pin.

    Returns:
        Notices for the user.

    Raises:
        UsageError: The file was changed meanwhile, or cannot be edited.
        StoreError: The disk refused.
    """
    try:
        before = upgrade.path.read_bytes()
    except OSError as error:
        raise UnknownModelError(f"{sanitize(str(upgrade.path))}: {error.strerror}") from error
    after, notices = rewritten(upgrade.path, before, upgrade.new)
    replace_unchanged(upgrade.path, before, after)
    return notices


def _check_own_path(workspace: Workspace, entry: CatalogEntry, reference: Reference) -> None:
    """Refuse a path outside of a project as the upstream of its model.

    A project comes with somebody else's repository. Its manifest could name a private file of the user, of
    which the cache would keep a copy that others can read.

    Raises:
        UsageError: It is one.
    """
    project = workspace.loaded.project_file
    if entry.origin != "project" or project is None or not isinstance(reference, DiskReference):
        return
    path = os.path.realpath(os.path.expanduser(reference.path))  # noqa: PTH111 - as when it is read
    if not is_in_project(Path(path), project):
        raise UsageError(
            f"{entry.name} is a model of the project, but its upstream {quote(path)} is outside of it",
            hint=f"If that is yours, pin it anew: `modelfetch add {shell_word(reference.path)} --name ...`.",
        )


def at_revision(reference: Reference, revision: str) -> Reference:
    """Return a reference at another revision.

    Raises:
        UsageError: Such a reference has no revisions, or this cannot be one.
    """
    if isinstance(reference, RepoReference):
        reference = replace(reference, tail="")  # the patterns of the pin have the folder
    return matching.at_revision(reference, revision)


def carried_over(old: Manifest, new: Manifest) -> Manifest:
    """Return the new manifest with what a person may have written into the old one.

    What describes the old bytes alone is not kept: the CID of their directory.
    """
    before = {file.path: file for file in old.files}
    upstream = new.upstream
    if upstream is not None and old.upstream is not None:
        upstream = replace(upstream, added=upstream.added or old.upstream.added)
    return replace(
        new,
        files=tuple(_carried_file(before.get(file.path), file) for file in new.files),
        kind=old.kind,
        title=old.title or new.title,
        license=old.license or new.license,
        homepage=old.homepage or new.homepage,
        task=old.task or new.task,
        format=old.format or new.format,
        mirrors=old.mirrors,
        ipfs_cid=old.ipfs_cid if old.identity == new.identity else None,
        swarm=old.swarm if old.identity == new.identity else None,
        upstream=upstream,
    )


def _license_notice(old: Manifest, new: Manifest) -> list[str]:
    """Report that the upstream states another license; a person may have corrected the manifest's."""
    if new.license in ("", old.license) or not old.license:
        return []
    stated = f"the upstream states the license {new.license}"
    return [f"{stated}; the manifest keeps {old.license}: edit it if the license changed"]


def _carried_file(before: FileSpec | None, after: FileSpec) -> FileSpec:
    """Keep the addresses of a file that is the same."""
    if before is None or not after.is_pinned(before.sha256, before.size):
        return after
    return replace(
        after,
        cid=after.cid or before.cid,
        urls=tuple(dict.fromkeys((*after.urls, *before.urls))),
        executable=after.executable or before.executable,
    )


def _made(
    old: Manifest, reference: Reference, upstream_for: UpstreamFor, digests: Digests
) -> tuple[Pin, list[str]]:
    """Make the pin anew, with its second hub if that one has the same files by now.

    A second hub that cannot be reached now ends the upgrade: the pin would lose a good source for ever.
    """
    origin = old.upstream
    assert origin is not None, "checked by `editable`"
    request = PinRequest(
        (reference,), old.name, include=origin.include, exclude=origin.exclude, is_repeat=True
    )
    second = _second_hub(old, reference)
    if second is None:
        return make_pin(request, upstream_for, digests), []
    try:
        both = replace(request, references=(reference, second))
        return make_pin(both, upstream_for, digests), []
    except (IntegrityError, UnknownModelError, UsageError) as error:
        # It has other files, or none. A hub that does not answer is no reason to drop it: try again later.
        first = make_pin(request, upstream_for, digests)  # raises, if the first hub is the problem
        why = " ".join(error.message.splitlines()[:2])  # the second line is the first file that differs
        return first, [f"{second.text} is no longer a source of {old.name}: {why}"]


def _second_hub(old: Manifest, reference: Reference) -> Reference | None:
    """Return the repository of the other hub that the pin has as a source, on its default branch."""
    if not isinstance(reference, RepoReference):
        return None
    if reference.hub == "hf" and old.modelscope is not None:
        return RepoReference("ms", old.modelscope.repo, type=old.modelscope.type)
    if reference.hub == "ms" and old.huggingface is not None:
        return RepoReference("hf", old.huggingface.repo, type=old.huggingface.type)
    return None


def _reference_text(manifest: Manifest) -> str:
    """Return a reference for the messages that propose `add`."""
    if manifest.upstream is not None:
        return shell_word(shown_ref(manifest))
    if manifest.huggingface is not None:
        return RepoReference("hf", manifest.huggingface.repo, type=manifest.huggingface.type).text
    return "REFERENCE"


# Other versions

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def versions(workspace: Workspace, manifest: Manifest) -> dict[str, Manifest]:
    """Return the versions of a model that are known here: the pin, and those in the cache, newest last."""
    receipts = sorted(
        (receipt for receipt in workspace.store.receipts() if receipt.name == manifest.name),
        key=lambda receipt: max((file.verified_at for file in receipt.files), default=_NEVER),
    )
    found = {receipt.version: receipt.manifest() for receipt in receipts}
    found.pop(manifest.version, None)
    return {**found, manifest.version: manifest}


def version(workspace: Workspace, manifest: Manifest, label: str) -> Manifest:
    """Return one version of a model.

    Raises:
        UnknownModelError: Neither the catalog nor the cache has it.
    """
    known = versions(workspace, manifest)
    if label in known:
        return known[label]
    raise UnknownModelError(
        f"{manifest.name} has no version {quote(label)} here.{did_you_mean(label, known)}",
        hint=f"Versions here: {', '.join(known)}.",
    )


def newest_other(workspace: Workspace, manifest: Manifest) -> Manifest:
    """Return the version in the cache that was verified last, other than the pin.

    Raises:
        UnknownModelError: There is no other version.
    """
    others = [found for found in versions(workspace, manifest).values() if found.version != manifest.version]
    if others:
        return others[-1]
    raise UnknownModelError(
        f"the cache has no other version of {manifest.name} to compare with",
        hint="Online, a pin that `modelfetch add` wrote is compared with its upstream.",
    )
