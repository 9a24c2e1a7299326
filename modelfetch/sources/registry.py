"""The table of sources: the class of each kind, and for which files a run loads it.

A run makes one source of each kind (:func:`make_sources`), and ``modelfetch sources`` lists the hosts that
the classes know. The rows are in the order of :class:`~modelfetch.model.source_kinds.SourceKind`, and a test
compares both. For example, ``--only`` accepts ``mirror`` because of the row of
:class:`~modelfetch.sources.mirror.MirrorSource`. Most models have one or two kinds of source; the modules of
the others are not loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from modelfetch.model.source_kinds import SourceKind

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.settings import Settings
    from modelfetch.sources.base import Offer, RegisteredSource, SourceContext


class Row(NamedTuple):
    """One kind of source."""

    kind: SourceKind
    module: str
    name: str
    """Name of the class in the module."""
    may_have: Callable[[Manifest, FileSpec], object]
    """Whether it may have an offer for a file; if not, its module is not loaded."""
    is_used: Callable[[Settings], object] = lambda _: True
    """Whether the settings use it; if not, its module is not loaded either."""

    def load(self) -> type[RegisteredSource]:
        """Return the class."""
        found: type[RegisteredSource] = getattr(import_module(f"modelfetch.sources.{self.module}"), self.name)
        return found


def _has_peers(settings: Settings) -> bool:
    return bool(settings.sources.peers) or settings.lan.enabled


ROWS = (
    Row(SourceKind.LOCAL, "local", "LocalSource", lambda _manifest, _file: True),
    Row(SourceKind.PEER, "peer_search", "PeerSource", lambda _manifest, _file: True, _has_peers),
    Row(SourceKind.MIRROR, "mirror", "MirrorSource", lambda _manifest, _file: True),
    Row(SourceKind.IPFS, "ipfs", "IpfsSource", lambda manifest, file: file.cid or manifest.ipfs_cid),
    Row(SourceKind.HUGGINGFACE, "huggingface", "HuggingFaceSource", lambda manifest, _: manifest.huggingface),
    Row(SourceKind.MODELSCOPE, "modelscope", "ModelScopeSource", lambda manifest, _: manifest.modelscope),
    Row(SourceKind.OCI, "oci", "OciSource", lambda manifest, _: manifest.oci),
    Row(SourceKind.URL, "mirror", "UrlSource", lambda _, file: file.urls),
)


def source_classes() -> Iterator[type[RegisteredSource]]:
    """The class of each kind, in their order."""
    return (row.load() for row in ROWS)


def make_sources(context: SourceContext) -> dict[str, LateSource]:
    """Make the sources of a run, by kind."""
    return {row.kind: LateSource(row, context) for row in ROWS}


class LateSource:
    """A source that is made when a file may come from it. May be used by several threads.

    Args:
        row: The kind.
        context: What it is made from.

    Attributes:
        is_used: Whether the settings use it.
    """

    def __init__(self, row: Row, context: SourceContext) -> None:
        self.kind = row.kind
        self._row = row
        self._context = context
        self.is_used = row.is_used(context.loaded.settings)
        self._source: RegisteredSource | None = None
        self._lock = threading.Lock()

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """See :meth:`modelfetch.sources.base.Source.offers`."""
        is_needed = self.is_used and self._row.may_have(manifest, file)
        return self._made().offers(manifest, file) if is_needed else ()

    def discover(self, places: Sequence[tuple[Manifest, FileSpec]]) -> None:
        """See :meth:`modelfetch.sources.base.RegisteredSource.discover`."""
        if self.is_used:
            self._made().discover(places)

    def _made(self) -> RegisteredSource:
        source = self._source
        if source is not None:
            return source
        with self._lock:
            if self._source is None:  # else another thread made it meanwhile
                self._source = self._row.load().from_context(self._context)
            return self._source
