"""``find``: which models, files and sources known here have certain bytes.

Makes no request and writes nothing. Data goes to stdout; exit code 3 if nothing is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, say
from modelfetch.cli.tables import print_facts

if TYPE_CHECKING:
    from modelfetch.pins.find import Found, FoundModel


def find(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SHA256|FILE", help="A SHA-256, or a file with the bytes.", show_default=False
        ),
    ],
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Find the models, files and sources that have certain bytes.

    Searches all catalogs, the cache, and the caches of the Hugging Face libraries and of ollama, by SHA-256.
    Files of sources.local are found if an earlier run hashed them. Uses no network. Exits with code 3 if
    nothing here has these bytes.
    """
    from modelfetch.errors import UnknownModelError
    from modelfetch.pins import find as finder
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    found = finder.find(workspace, finder.target_of(what))
    for fault in found.faults:
        say(f"warning: {fault}")
    if found.is_empty:
        raise UnknownModelError(
            f"nothing known here has the SHA-256 {found.target.sha256}",
            hint="`modelfetch add REF` pins a model that no catalog has.",
        )
    if json:
        print_json(_document(found))
    else:
        notes(workspace)
        print_facts(_facts(found))


def _document(found: Found) -> dict[str, Any]:
    from modelfetch.settings import redact

    return {
        "sha256": found.target.sha256,
        "size": found.target.size,
        "models": [
            {
                "name": model.name,
                "version": model.version,
                "path": model.path,
                "catalog": model.catalog or None,
                "present": model.is_present,
            }
            for model in found.models
        ],
        "blob": None if found.blob is None else str(found.blob),
        "placed": [str(path) for path in found.placed],
        "elsewhere": [{"program": each.program, "path": str(each.path)} for each in found.elsewhere],
        "sources": [
            {"kind": each.kind, "host": each.host, "address": redact(each.address), "model": each.model}
            for each in found.sources
        ],
    }


def _facts(found: Found) -> list[tuple[str, str]]:
    from modelfetch.model.units import format_size
    from modelfetch.settings import redact

    size = found.target.size
    return [
        ("sha256", found.target.sha256),
        *([] if size is None else [("size", f"{format_size(size)} ({size} bytes)")]),
        *(("model", _line(model)) for model in found.models),
        *([] if found.blob is None else [("blob", str(found.blob))]),
        *(("file", str(path)) for path in found.placed),
        *((each.program, str(each.path)) for each in found.elsewhere),
        *(("source", f"{each.kind} {redact(each.address)}") for each in found.sources),
    ]


def _line(model: FoundModel) -> str:
    where = f"{model.catalog} catalog" if model.catalog else "only in the cache"
    state = "present" if model.is_present else "not present"
    return f"{model.name} {model.version}: {model.path} ({where}, {state})"
