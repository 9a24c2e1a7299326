"""``cache-key``: a key for the caches of CI services, made from the pins.

The key is the SHA-256 of the name, version and manifest identity of each model. So it is the same on every
machine, in every order of the names and for every change of titles and sources, and another one as soon as a
pin changes::

    $ modelfetch cache-key
    modelfetch-1-0f7bb0ad19e39b7d5e1a3c9f0f7c4d2e

Nothing is fetched, and the files of the models are not read.
"""

from __future__ import annotations

import hashlib
import json as jsonlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, print_line

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest

PREFIX: Final = "modelfetch-"
"""Beginning of every key, from which a CI service can restore the newest older cache."""
_LAYOUT: Final = 1
"""Version of the cache's layout: another layout needs other keys."""
_DIGITS: Final = 32
"""Hexadecimal digits of a key: 128 bits. CI services limit the length of keys and show them in tables."""


def cache_key(names: options.Names = None, json: options.Json = False) -> None:
    """Print a key for the cache of a CI service.

    It is the same on every machine, and changes when a pin of one of the models changes.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.workspace import Workspace

    workspace = Workspace.open()
    manifests = workspace.manifests(names_of(workspace, names or ()))
    key = key_of(manifests)
    if json:
        print_json({"key": key, "models": [_facts(manifest) for manifest in manifests]})
        return
    notes(workspace)
    print_line(key)


def key_of(manifests: Sequence[Manifest]) -> str:
    """Make the key of a set of models, in any order."""
    pins = sorted([manifest.name, manifest.version, manifest.identity] for manifest in manifests)
    canonical = jsonlib.dumps(pins, ensure_ascii=False, separators=(",", ":"))
    return f"{PREFIX}{_LAYOUT}-{hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]}"


def _facts(manifest: Manifest) -> dict[str, object]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "identity": manifest.identity,
        "size": manifest.size,
    }
