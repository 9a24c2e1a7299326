"""What one run of ensure is asked to do: the options of a caller, and the request to the engine.

The command line and the Python interface make one :class:`EnsureOptions` each. All code between them and the
engine passes it on unchanged:

    >>> options = EnsureOptions(run=RunOptions(only=("mirror",)), force=True)
    >>> request = Request([manifest], options)                             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.engine.export import Export
from modelfetch.engine.setup import Attached, RunOptions
from modelfetch.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from modelfetch.engine.plan import FileKey
    from modelfetch.model.manifest import Manifest
    from modelfetch.store import Consulted


@dataclass(frozen=True, slots=True)
class EnsureOptions:
    """All options of one run of ensure, as its caller gave them."""

    settings: Mapping[str, object] = field(default_factory=dict)
    """Settings for this run alone, by dotted name; one that is None counts as not given."""
    run: RunOptions = field(default_factory=RunOptions)
    """What runs of every kind can be asked for: sources and time limits."""
    force: bool = False
    """Whether to fetch everything again, whatever is on disk."""
    to: Path | None = None
    """An absolute directory that gets the files of every model too."""
    layout_hf: bool = False
    """Whether the cache of the Hugging Face libraries gets the files too."""
    files: tuple[str, ...] = ()
    """Paths of the only files to fetch, of a single model (:mod:`modelfetch.engine.single_files`); empty for
    all files."""
    attached: Attached = Attached(opens_swarm=True)
    """What other parts of the program attach to the run."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine is to ensure, and how."""

    manifests: Sequence[Manifest]
    options: EnsureOptions = field(default_factory=EnsureOptions)
    hub_cache: Path | None = None
    """Where ``options.layout_hf`` places files: a matter of the settings, which the engine does not read."""
    consulted: Sequence[Consulted] = ()
    """Files that decided what the models are, for the receipts."""
    circumstances: Sequence[str] = ()
    """What else decided it: :func:`modelfetch.warm.circumstances`."""
    distrusted: Collection[FileKey] = frozenset()
    """Files that must be obtained again, whatever their stat says."""

    @property
    def export(self) -> Export:
        """The places outside the cache that get the files too."""
        return Export(self.options.to, self.hub_cache if self.options.layout_hf else None)
