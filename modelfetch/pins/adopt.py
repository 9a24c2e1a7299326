"""Adopt models that other programs keep on this disk: pin them into the user's catalog, without a request.

::

    adopter = Adopter(workspace, StoreDigests(workspace.store))
    for model in models_in_hub(...):
        print(adopter.adopt(model))

Digests that the other program states are taken as stated: the bytes are verified when they are copied into
the cache. All other files are read and hashed here, and kept in the cache. What cannot be adopted is reported
as a result and never ends the others.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from glob import escape
from typing import TYPE_CHECKING, Literal

from modelfetch.errors import IntegrityError, ManifestError, UnavailableError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.reference import DiskReference, OllamaReference, RepoReference
from modelfetch.model.text import quote, shell_word
from modelfetch.pins.adopt_hub import VERIFY, models_in_hub
from modelfetch.pins.adopt_ollama import models_of_ollama
from modelfetch.pins.catalogs import check_name, pins, user_catalog, write_pin
from modelfetch.pins.combine import unique_files
from modelfetch.pins.local_model import ListingUpstream, LocalModel
from modelfetch.pins.matching import Wanted
from modelfetch.pins.pin import PinRequest, make_pin
from modelfetch.pins.select import incomplete, is_left_out
from modelfetch.pins.variants import variants_of
from modelfetch.upstreams.disk import LocalDisk

if TYPE_CHECKING:
    from pathlib import Path

    from modelfetch.model.manifest import Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.pins.digests import Digests
    from modelfetch.upstreams.base import Listing
    from modelfetch.workspace import Workspace

State = Literal["adopted", "present", "incomplete", "damaged", "refused"]
"""``present``: a catalog pins the same files already. ``refused``: the name is taken, or a path is unsafe."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What came of one model."""

    place: str
    state: State
    name: str = ""
    """Name of the pin; empty if there is none."""
    manifest: Manifest | None = None
    path: Path | None = None
    """The manifest that was written."""
    reason: str = ""
    """Why it was not adopted."""
    hint: str = ""
    notices: tuple[str, ...] = ()


class Adopter:
    """Pins models of this disk, one after the other.

    Args:
        workspace: Catalogs and cache.
        digests: Computes the digests that nobody states.
        dry_run: Whether nothing is written.
    """

    def __init__(self, workspace: Workspace, digests: Digests, *, dry_run: bool = False) -> None:
        self._workspace = workspace
        self._digests = digests
        self._dry_run = dry_run
        self._names: set[str] = set()
        """Names that this run gave: the catalogs were listed before it."""

    @cached_property
    def _known(self) -> dict[str, Manifest]:
        """The models of all catalogs, by identity."""
        catalog, known = self._workspace.catalog, dict[str, "Manifest"]()
        for name in catalog.names():
            with suppress(ManifestError):  # its use reports it
                manifest = catalog.get(name)
                known.setdefault(manifest.identity, manifest)
        return known

    def adopt(self, model: LocalModel, name: str | None = None) -> Adopted:
        """Pin a model, unless a catalog has the same files already.

        Args:
            model: What was found on this disk.
            name: Its name; None for the one that follows from the repository.

        Raises:
            StoreError: The disk refused.
            Cancelled: The run was cancelled.
        """
        if model.listing is None:
            state: State = "damaged" if model.fault == "damaged" else "incomplete"
            return Adopted(model.place, state, reason=model.reason, hint=model.hint)
        try:
            return self._adopt(model, model.listing, name)
        except IntegrityError as error:
            hint = VERIFY if model.listing.huggingface is not None else error.hint
            return Adopted(model.place, "damaged", reason=error.message, hint=hint)
        except (UsageError, ManifestError, UnavailableError) as error:
            hint = _with_verb(error.hint, model.listing.reference)
            return Adopted(model.place, "refused", reason=error.message, hint=hint)

    def _adopt(self, model: LocalModel, listing: Listing, name: str | None) -> Adopted:
        request, upstream = _request(model, listing, name), ListingUpstream(listing)
        # Before gigabytes are hashed, but not for files that a catalog may have already.
        check = self._check_name if not self._may_be_known(listing) else lambda *_: None
        pin = make_pin(
            request, lambda _: upstream, self._digests, check_name=lambda chosen, _: check(chosen, listing)
        )
        manifest = _undated(pin.manifest, listing)
        known = self._known.get(manifest.identity)
        if known is not None:
            return Adopted(model.place, "present", known.name, known)
        self._check_name(manifest.name, listing)
        path = None if self._dry_run else write_pin(manifest, user_catalog(self._workspace))
        self._names.add(manifest.name)
        notices = (*listing.notices, *incomplete(listing.files))
        self._known[manifest.identity] = manifest
        return Adopted(model.place, "adopted", manifest.name, manifest, path, notices=notices)

    def _may_be_known(self, listing: Listing) -> bool:
        """Whether a catalog has a model with files of these paths and sizes."""
        sizes = {file.path: file.size for file in listing.files if not is_left_out(file.path)}
        return any(sizes == {file.path: file.size for file in known.files} for known in self._known.values())

    def _check_name(self, name: str, listing: Listing) -> None:
        """Refuse a name that a catalog, or another model of this run, has.

        Raises:
            UsageError: The name is taken; the hint proposes another one.
        """
        try:
            check_name(self._workspace, name, PinRequest((listing.reference,)))
        except UsageError as error:
            hint = error.hint.replace("modelfetch add ", "modelfetch adopt ")  # the same words follow
            of_same_reference = pins(self._workspace, Wanted(listing.reference))
            if any(manifest.name == name for manifest in of_same_reference):
                move = f"`modelfetch upgrade {name}` moves it to what there is now."
                hint = f"{move} {hint.replace('Choose', 'Or choose')}"
            raise UsageError(error.message, hint=hint) from error
        if name in self._names:
            raise UsageError(
                f"the name {quote(name)} is taken by another model that was adopted now",
                hint="Choose another one: "
                f"`modelfetch adopt {shell_word(listing.reference.text)} --name ...`.",
            )


def models_at(workspace: Workspace, target: str) -> list[LocalModel]:
    """Return the models of a place on this disk.

    Args:
        workspace: Settings, which name the caches of other programs.
        target: ``hf``, ``hf:ORG/REPO[@REV]``, ``ollama``, ``ollama:NAME[:TAG]``, or a directory or file.

    Raises:
        UnknownModelError: The place does not exist, or does not have the model.
        UsageError: The target is malformed, or a directory has no files that can be pinned.
        StoreError: A directory cannot be read.
    """
    from modelfetch.pins.session import parsed

    loaded = workspace.loaded
    endpoint = loaded.settings.huggingface.endpoint
    if target == "hf":
        return list(models_in_hub(loaded.hf_cache, endpoint))
    if target == "ollama":
        return list(models_of_ollama(loaded.ollama_models))
    if target.startswith(("hf:", "ollama:")):
        reference = parsed(workspace, target)
        if isinstance(reference, RepoReference) and reference.hub == "hf":
            return list(models_in_hub(loaded.hf_cache, endpoint, reference))
        if isinstance(reference, OllamaReference):
            return list(models_of_ollama(loaded.ollama_models, reference))
    try:
        listing = LocalDisk().resolve(DiskReference(target))
    except UnknownModelError as error:
        raise UnknownModelError(error.message, hint=_PLACES) from error
    return [LocalModel(listing.reference.text, listing)]


_PLACES = (
    "A place is a directory or file, hf (the Hugging Face cache), hf:ORG/REPO, ollama, or ollama:NAME. "
    "`modelfetch add` pins what is not on this disk."
)


def _undated(manifest: Manifest, listing: Listing) -> Manifest:
    """Leave out the date of a pin whose upstream was not asked: it would count as a check.

    A cache may have had a commit for a year.
    """
    if manifest.upstream is None or isinstance(listing.reference, DiskReference):
        return manifest
    return replace(manifest, upstream=replace(manifest.upstream, added=""))


def _with_verb(hint: str, reference: Reference) -> str:
    """Name the command that takes patterns, because ``adopt`` takes none."""
    is_of_patterns = "--exclude" in hint or "--include" in hint
    return f"{hint} (with `modelfetch add {shell_word(reference.text)}`)" if is_of_patterns else hint


def _request(model: LocalModel, listing: Listing, name: str | None) -> PinRequest:
    """Return the request for all files of a listing.

    A repository with several variants has to be asked for by patterns; what is here is wanted. Files that may
    be a part of their repository are named one by one. Else ``add`` and ``outdated`` would take the pin for
    one of the whole repository.
    """
    files = unique_files(listing)
    if not model.is_whole:
        include = tuple(escape(file.path) for file in files if not is_left_out(file.path))
    else:
        include = ("*",) if len(variants_of(files)) > 1 else ()
    return PinRequest((listing.reference,), name, include)
