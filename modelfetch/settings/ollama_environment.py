"""The environment of ollama: where it keeps its models.

The directory is ``OLLAMA_MODELS``, else ``~/.ollama/models``. The service that the Linux installer sets up
runs as a user of its own, so its models are searched too::

    /usr/share/ollama/.ollama/models
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from modelfetch.settings.locations import expand

_SERVICE: Final = Path("/usr/share/ollama/.ollama/models")
"""Home directory of the user ``ollama`` that ollama's install.sh creates on Linux."""


def models(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return the directories of ollama's models, the user's own first; they may not exist."""
    named = environ.get("OLLAMA_MODELS", "").strip()
    own = expand(named, home) if named else home / ".ollama" / "models"
    places = (own, _SERVICE) if sys.platform == "linux" else (own,)
    # A relative path would depend on the directory in which the server of ollama was started.
    return tuple(dict.fromkeys(place for place in places if place.is_absolute()))
