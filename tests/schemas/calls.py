"""Every command, with arguments that it accepts: for tests that call each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

NOBODY = ("--server", "http://127.0.0.1:9/#token=t")
"""A server at the discard port, where nobody listens."""

CALLS: Mapping[str, Sequence[str]] = {
    "ensure": ["NAME"],
    "plan": ["NAME"],
    "verify": ["NAME"],
    "add": ["hf:org/repo"],
    "adopt": ["hf"],
    "bundle create": ["NAME", "-o", "models.tar"],
    "bundle import": ["nowhere.tar"],
    "bundle inspect": ["nowhere.tar"],
    "bundle pull": ["oci:registry.example/models/demo:1"],
    "bundle push": ["NAME", "oci:registry.example/models"],
    "bundle verify": ["nowhere.tar"],
    "list": [],
    "show": ["NAME"],
    "path": ["NAME"],
    "find": ["0" * 64],
    "cid": ["nowhere.bin"],
    "publish": ["NAME"],
    "swarm publish": ["NAME"],
    "remove": ["NAME"],
    "gc": ["--keep", "NAME"],
    "outdated": ["NAME"],
    "upgrade": ["NAME"],
    "diff": ["NAME"],
    "history": [],
    "log": [],
    "metrics": [],
    "sources": ["--probe"],
    "doctor": ["NAME"],
    "serve": [],
    "jobs": NOBODY,
    "attach": ["job", *NOBODY],
    "cancel": ["job", *NOBODY],
    "retry": ["job", *NOBODY],
    "cache-key": ["NAME"],
    "ci": ["github", "NAME"],
    "completion": ["bash"],
    "man": [],
    "config show": [],
    "config set": ["network.files", "3"],
    "config unset": ["network.files"],
    "config path": [],
    "quarantine list": [],
    "quarantine show": ["3f"],
    "quarantine restore": ["3f"],
    "quarantine purge": ["--all"],
}
"""The arguments of each command; NAME stands for a model."""


def line(command: str, name: str = "demo") -> list[str]:
    """The words of a command that names a model."""
    return [*command.split(), *(name if word == "NAME" else word for word in CALLS[command])]


def naming() -> Iterator[str]:
    """The commands that name a model."""
    return (command for command, words in CALLS.items() if "NAME" in words)
