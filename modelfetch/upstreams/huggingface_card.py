"""The card of a Hugging Face repository: its license and title, from metadata of unknown shape. Pure.

Owners write the card by hand, so any value may have any type; what is not as expected counts as absent. For
example, ``{"license": "other", "license_name": "my-license"}`` is the license ``other (my-license)``.
"""

from __future__ import annotations

from typing import Any, Final

from modelfetch.model.text import visible
from modelfetch.upstreams.licenses import license_of

_TITLE_LENGTH: Final = 200
"""Most characters kept of a title, which is shown as one line."""


def card_of(details: dict[str, Any]) -> dict[str, Any]:
    """Return the card of a repository's metadata; empty if it has none."""
    card = details.get("cardData")
    return card if isinstance(card, dict) else {}


def stated_license(details: dict[str, Any]) -> str:
    """Return the license of the card, else that of the tags; empty if neither states one."""
    card, tags = card_of(details), details.get("tags")
    if card.get("license"):
        return license_of(card["license"], card.get("license_name"))
    words = (tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    stated = next((tag for tag in words if tag.startswith("license:")), "")
    return license_of(stated.removeprefix("license:"))


def title_of(details: dict[str, Any], name: str) -> str:
    """Return the title of the card, else the last part of the repository's name."""
    card = card_of(details)
    for key in ("pretty_name", "model_name", "title"):
        if isinstance(card.get(key), str) and card[key].strip():
            return visible(card[key]).strip()[:_TITLE_LENGTH]
    return name.rpartition("/")[2]
