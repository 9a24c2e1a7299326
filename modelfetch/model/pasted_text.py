"""Guesses what was meant by text that is more than a reference: quotes around it, or a whole command. Pure.

::

    <https://huggingface.co/org/repo>        without the brackets, from a mail
    hf download org/repo model.gguf          hf:org/repo, from the instructions on a page
    ollama run llama3.2                      ollama:llama3.2

It is used after the parser has refused a text, so that no valid reference is ever read in another way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_AROUND: Final = "\"'`<>()[],; "
"""Characters around a reference in a mail, in Markdown, or in a list."""
_TOOLS: Final = {
    "hf": "hf:",
    "huggingface-cli": "hf:",
    "modelscope": "ms:",
    "ollama": "ollama:",
    "docker": "oci:",
    "git": "",
    "wget": "",
    "curl": "",
    "aria2c": "",
}
"""Programs whose commands are pasted, and the scheme of what they name."""
_VERBS: Final = frozenset({"download", "pull", "run", "show", "clone", "lfs", "model", "dataset"})
"""Words of these commands that are not names of models."""
_WORDS: Final = 20
"""Words of a command that are looked at."""


def without_surroundings(text: str) -> str:
    """Return the text without quotes, brackets and commas around it."""
    return text.strip(_AROUND)


def meant_by_command(text: str, if_valid: Callable[[str], str]) -> str:
    """Return the reference that a pasted command names, as it is written there; empty if there is none.

    Args:
        text: What was pasted.
        if_valid: Returns an empty string for what is no reference.
    """
    words = text.lstrip("$ ").split()[:_WORDS]
    if len(words) < 2 or words[0] not in _TOOLS:
        return ""
    scheme = _TOOLS[words[0]]
    return next((name for word in words[1:] if if_valid(name := _name(scheme, word))), "")


def _name(scheme: str, word: str) -> str:
    """A word of a command as a reference; empty if it cannot be one."""
    if word.startswith("-") or word in _VERBS:
        return ""
    return word if re.match("[a-z]+:", word) and scheme != "ollama:" else f"{scheme}{word}"
