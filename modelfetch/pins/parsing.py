"""Parses references as they are meant in one workspace.

The pages of the hubs that the settings name are recognized beside those of the public ones. The parser is
imported when a reference is parsed, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference
    from modelfetch.workspace import Workspace


def parsed(workspace: Workspace, text: str) -> Reference:
    """Parse a reference, with the endpoints of the settings.

    Raises:
        UsageError: The text is no reference.
    """
    from modelfetch.model.parse_reference import parse_reference

    settings = workspace.loaded.settings
    return parse_reference(
        text, hf_endpoint=settings.huggingface.endpoint, ms_endpoint=settings.modelscope.endpoint
    )
