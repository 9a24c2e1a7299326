"""Lines for ``-vv`` about what decides a run: files of settings, variables, catalogs, and the cache.

Values are not printed, because they may be secret; ``modelfetch config show`` prints them, masked::

    settings: read /home/ann/.config/modelfetch/config.toml
    settings: network.files is set by environment MODELFETCH_NETWORK_FILES
    catalog: read /home/ann/.config/modelfetch/catalog
    cache: /home/ann/.cache/modelfetch
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfetch.settings import Loaded
    from modelfetch.tracing import Trace

_UNSET = ("default", "not set")
"""Origins of values that no file, variable or option sets."""


def report_opening(trace: Trace, loaded: Loaded, catalogs: Sequence[Path]) -> None:
    """Print what was read, if details were requested.

    Args:
        trace: Prints the lines.
        loaded: The settings.
        catalogs: Every file and directory of catalogs that was read or searched.
    """
    if not trace.is_detailed:
        return
    for path in loaded.consulted:
        trace.detail(f"settings: {_state(path)}")
    for name, origin in loaded.origins.items():
        if origin not in _UNSET:
            trace.detail(f"settings: {name} is set by {origin}")
    for path in catalogs:
        trace.detail(f"catalog: {_state(path)}")
    trace.detail(f"cache: {loaded.cache_dir}{', offline' if loaded.offline else ''}")


def _state(path: Path) -> str:
    return f"read {path}" if os.path.lexists(path) else f"no {path}"
