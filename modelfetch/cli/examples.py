"""An example or more for the help of every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "": (
        "modelfetch ensure whisper-base",
        "modelfetch verify",
    ),
    "ensure": (
        "modelfetch ensure whisper-base",
        "d=$(modelfetch ensure whisper-base --quiet)",
        "modelfetch ensure whisper-base --offline",
        "modelfetch ensure whisper-base --to ./model --limit-rate 8M",
    ),
    "plan": (
        "modelfetch plan whisper-base",
        "modelfetch plan --json",
    ),
    "verify": (
        "modelfetch verify",
        "modelfetch verify whisper-base --repair",
        "modelfetch verify --quick --quiet",
    ),
    "list": (
        "modelfetch list",
        "modelfetch list --present --json",
    ),
    "show": ("modelfetch show whisper-base",),
    "path": (
        "modelfetch path whisper-base",
        "modelfetch path whisper-base onnx/encoder_model.onnx",
    ),
    "remove": (
        "modelfetch remove whisper-base --dry-run",
        "modelfetch remove whisper-base",
    ),
    "history": (
        "modelfetch history",
        "modelfetch history --since 7d --plot",
    ),
    "log": (
        "modelfetch log",
        "modelfetch log 3f9c",
    ),
    "metrics": (
        "modelfetch metrics --since 7d",
        "modelfetch metrics summary",
        "modelfetch metrics --prometheus",
    ),
    "sources": (
        "modelfetch sources",
        "modelfetch sources --probe",
    ),
    "serve": (
        "modelfetch serve",
        "modelfetch serve --host 0.0.0.0 --cert cert.pem --key key.pem",
    ),
    "jobs": (
        "modelfetch jobs",
        "modelfetch jobs --server 'http://127.0.0.1:8765/#token=...'",
    ),
    "attach": ("modelfetch attach 3f9c",),
    "cancel": ("modelfetch cancel 3f9c",),
    "retry": (
        "modelfetch retry 3f9c",
        "modelfetch attach $(modelfetch retry 3f9c)",
    ),
    "config": (
        "modelfetch config show",
        "modelfetch config set network.limit_rate 8M",
    ),
    "config show": (
        "modelfetch config show",
        "modelfetch config show --json",
    ),
    "config set": (
        "modelfetch config set network.files 8",
        "modelfetch config set sources.order local,mirror,huggingface",
    ),
    "config unset": ("modelfetch config unset network.files",),
    "config path": ("modelfetch config path",),
}
"""By the words behind ``modelfetch``."""


def epilog(command: str = "") -> str:
    """What stands at the end of a command's help; the mark keeps its lines from being joined."""
    lines = "\n".join(f"  {example}" for example in EXAMPLES[command])
    return f"\b\nExamples:\n{lines}"
