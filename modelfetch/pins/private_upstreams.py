"""Finds requests into a private network that the pins of a project cause, and not the user.

A project comes with somebody else's repository. Its ``[upstream]`` may name a device or a service that only
this machine reaches, and ``outdated`` would send it a request. That is reported and not refused, as for the
sources of a model (:mod:`modelfetch.sources.private_network`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelfetch.errors import UsageError
from modelfetch.model.reference import OciReference, OllamaReference, RepoReference, UrlReference
from modelfetch.model.text import sanitize
from modelfetch.net.urls import host_of, is_private_host
from modelfetch.pins.parsing import parsed

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.settings import Loaded
    from modelfetch.workspace import Workspace


def private_upstreams(workspace: Workspace, manifests: Iterable[Manifest]) -> list[str]:
    """Return a line for each host in a private network that a pin of the project has as its upstream.

    The text of an address decides; nothing is resolved.
    """
    project = workspace.catalog.of_project()
    found: dict[str, None] = {}
    for manifest in manifests:
        if manifest.upstream is None or manifest.name not in project:
            continue
        with suppress(UsageError):  # the command itself reports a wrong reference
            address = _address(parsed(workspace, manifest.upstream.ref), workspace.loaded)
            if address and is_private_host(urlsplit(address).hostname or ""):
                found.setdefault(host_of(address))
    return [f"this project uses {host}, which is on this machine or in a private network" for host in found]


def _address(reference: Reference, loaded: Loaded) -> str:
    """The address that a reference is resolved at, if the project chose it; else empty."""
    match reference:
        case UrlReference():
            return reference.url
        case OciReference():
            return f"https://{reference.registry}"
        case OllamaReference():
            return f"https://{reference.host}"
        case RepoReference():
            hub = "huggingface" if reference.hub == "hf" else "modelscope"
            name = f"{hub}.endpoint"
            is_projects = loaded.origins[name] == f"project file {sanitize(str(loaded.project_file))}"
            return str(loaded.settings.value(name)) if is_projects else ""
        case _:
            return ""
