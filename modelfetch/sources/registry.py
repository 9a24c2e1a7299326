"""The table of sources: the class of each active kind.

A run makes one source of each class (:func:`make_sources`), and ``modelfetch sources`` lists the hosts that
the classes know. The rows are in the order of :class:`~modelfetch.model.source_kinds.SourceKind`, and a test
compares both. For example, ``--only`` accepts ``mirror`` because of the row of
:class:`~modelfetch.sources.mirror.MirrorSource`.
"""

from __future__ import annotations

from typing import Final

from modelfetch.sources.base import RegisteredSource, Source, SourceContext
from modelfetch.sources.huggingface import HuggingFaceSource
from modelfetch.sources.ipfs import IpfsSource
from modelfetch.sources.local import LocalSource
from modelfetch.sources.mirror import MirrorSource, UrlSource
from modelfetch.sources.modelscope import ModelScopeSource
from modelfetch.sources.oci import OciSource

SOURCES: Final[tuple[type[RegisteredSource], ...]] = (
    LocalSource,
    MirrorSource,
    IpfsSource,
    HuggingFaceSource,
    ModelScopeSource,
    OciSource,
    UrlSource,
)


def make_sources(context: SourceContext) -> dict[str, Source]:
    """Make the sources of a run, by kind."""
    return {source.kind: source.from_context(context) for source in SOURCES}
