"""``list``, ``show`` and ``path``: the models of the catalogs, and those in the cache.

None of them uses the network. A model is present if its files have the size and time that they had when they
were verified; ``path`` reads the files again if they differ, since scripts rely on its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, print_line, say
from modelfetch.cli.tables import Column, print_facts, print_table
from modelfetch.streams import write_path

if TYPE_CHECKING:
    from modelfetch.keep.last_use import LastUses
    from modelfetch.model.manifest import Manifest, PinOrigin
    from modelfetch.workspace import Workspace


_NAME = 32
"""Least width of a model's name, in cells: longer ones are rare, and are shortened in the middle."""
_LICENSE = 12
"""Most width of a license, in cells: common identifiers fit, and a sentence would take the title's room."""
_TITLE = 24
"""Least width of a title, in cells: relatives differ only after some words, so less tells nothing."""
_PATH = 32
"""Least width of a path, in cells; if the terminal is too narrow for it, digests go below their rows."""


def list_models(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATTERN]",
            help="Part of a name or title, or a pattern such as '*-q8'.",
            show_default=False,
        ),
    ] = None,
    present: Annotated[bool, typer.Option("--present", help="List present models only.")] = False,
    task: Annotated[
        options.TaskName | None,
        typer.Option("--task", help="List models for this task only.", show_default=False),
    ] = None,
    sort: Annotated[
        options.Sort, typer.Option("--sort", help="Order: by name, largest first, or last used first.")
    ] = options.Sort.NAME,
    size: Annotated[bool, typer.Option("--size", help="Show the disk space of each model.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """List the models of all catalogs, and show which are present."""
    from modelfetch.cli.list_filters import matcher, ordered
    from modelfetch.keep.last_use import LastUses
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    is_wanted = matcher(pattern)
    # Only what shows the last uses pays for reading them.
    uses = LastUses(workspace.store) if json or sort == options.Sort.USED else None
    manifests = [each for each in _readable(workspace) if is_wanted(each) and task in (None, each.task)]
    upstreams = _upstreams(workspace, manifests)
    with workspace.store.looking():
        models = [
            _summary(workspace, manifest, uses) | {"upstream": upstreams.get(manifest.name)}
            for manifest in manifests
        ]
    models = ordered([model for model in models if model["present"] or not present], sort)
    total = _add_disk_space(workspace, models) if size else None
    if json:
        print_json({"models": models} | ({"cache": total} if size else {}))
        return
    notes(workspace)
    _print_models(models)
    _say_upstreams(models)
    if not models:
        say("no model matches")
    if total is not None:
        from modelfetch.model.units import format_size

        say(f"the cache takes {format_size(total)}; what several models share counts once")


def _readable(workspace: Workspace) -> Iterator[Manifest]:
    """Read the manifests of all catalogs; an invalid one is reported and skipped."""
    from modelfetch.errors import ManifestError

    for name in workspace.catalog.names():
        try:
            manifest = workspace.catalog.get(name)
        except ManifestError as error:
            say(f"warning: {error.message}")
            continue
        yield manifest


def _summary(workspace: Workspace, manifest: Manifest, uses: LastUses | None) -> dict[str, Any]:
    entry = workspace.catalog.entry(manifest.name)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "present": workspace.is_present(manifest),
        "files": len(manifest.files),
        "size": manifest.size,
        "task": manifest.task,
        "format": manifest.format,
        "license": manifest.license,
        "title": manifest.title,
        "catalog": entry.origin,
        "replaces": entry.replaces,
        "path": str(workspace.store.directory(manifest)),
        **({"used": uses.of(manifest)} if uses is not None else {}),
    }


def _add_disk_space(workspace: Workspace, models: Sequence[dict[str, Any]]) -> int:
    """Add to each model the disk space of its version; return that of the whole cache."""
    seen = workspace.store.survey()
    sizes = {(each.name, each.label): each.size for each in seen.versions}
    for model in models:
        model["disk"] = sizes.get((model["name"], Path(model["path"]).name), 0)
    return seen.size


def _upstreams(workspace: Workspace, manifests: Sequence[Manifest]) -> dict[str, dict[str, Any]]:
    """What is known of the upstreams of pins, by name. Nothing is imported if none of them has one."""
    if all(manifest.upstream is None for manifest in manifests):
        return {}
    from modelfetch.pins.upstream_state import upstream_states

    return {name: state.document for name, state in upstream_states(workspace, manifests).items()}


_FLAGS = {"moved": "moved upstream", "due": "check due", "failed": "check failed"}


def _say_upstreams(models: Sequence[dict[str, Any]]) -> None:
    """Flag the pins that moved, whose check is due, or whose last check failed."""
    for state, words in _FLAGS.items():
        names = [
            model["name"] for model in models if model["upstream"] and model["upstream"]["state"] == state
        ]
        if names:
            say(f"note: {words}: {', '.join(names)} (see `modelfetch outdated`)")


def _print_models(models: list[dict[str, Any]]) -> None:
    from modelfetch.cli.history import local_time
    from modelfetch.model.units import format_size, parse_time

    with_use = any("used" in model for model in models)
    with_disk = any("disk" in model for model in models)
    rows = [
        [
            f"{model['name']} (project)" if model["replaces"] else model["name"],
            "yes" if model["present"] else "-",
            format_size(model["size"]),
            *([format_size(model["disk"]) if model["disk"] else "-"] if with_disk else []),
            *([local_time(parse_time(model["used"])) if model["used"] else "-"] if with_use else []),
            model["task"] or "-",
            model["format"] or "-",
            model["license"] or "-",
            model["title"],
        ]
        for model in models
    ]
    columns = [
        Column("model", flexible=True, least=_NAME),
        Column("present"),
        Column("size", right=True),
        *([Column("on disk", right=True)] if with_disk else []),
        *([Column("used")] if with_use else []),
        Column("task", drop=1),
        Column("format", drop=2),
        Column("license", flexible=True, prose=True, drop=3, most=_LICENSE),
        Column("title", flexible=True, prose=True, least=_TITLE, drop=4),
    ]
    print_table(columns, rows)


def show(
    name: options.Name,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Show one model in full: files, digests, license, sources."""
    from modelfetch.cli.pinning import names_of
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    manifest = workspace.manifests(names_of(workspace, [name]))[0]
    if json:
        print_json(_document(workspace, manifest))
        return
    notes(workspace)
    _print_facts(workspace, manifest)


def _document(workspace: Workspace, manifest: Manifest) -> dict[str, Any]:
    from modelfetch.settings import redact

    entry = workspace.catalog.entry(manifest.name)
    document = asdict(manifest)
    for file in document["files"]:
        file["urls"] = [redact(url) for url in file["urls"]]
    if manifest.upstream is not None:
        document["upstream"]["ref"] = _reference(manifest.upstream)
    return {
        **document,
        "mirrors": [redact(mirror) for mirror in manifest.mirrors],
        "size": manifest.size,
        "identity": manifest.identity,
        "present": workspace.is_present(manifest),
        "path": str(workspace.store.directory(manifest)),
        "catalog": entry.origin,
        "replaces": entry.replaces,
        "manifest": str(entry.path),
        "upstream_state": _upstreams(workspace, [manifest]).get(manifest.name),
    }


def _print_facts(workspace: Workspace, manifest: Manifest) -> None:
    from modelfetch.model.units import format_size

    print_facts([(label, value) for label, value in _facts(workspace, manifest) if value])
    print_line("")
    modes = any(file.executable for file in manifest.files)
    rows = [
        [
            file.path,
            *(["executable" if file.executable else "-"] if modes else []),
            format_size(file.size),
            f"{file.size}",
            file.sha256,
        ]
        for file in manifest.files
    ]
    columns = [
        Column("file", flexible=True, least=_PATH),
        *([Column("mode")] if modes else []),
        Column("size", right=True),
        Column("bytes", right=True, drop=1),
        Column("sha256", whole=True),
    ]
    print_table(columns, rows)


def _facts(workspace: Workspace, manifest: Manifest) -> list[tuple[str, str]]:
    from modelfetch.model.units import format_size
    from modelfetch.reporters.terminal_text import plural

    entry = workspace.catalog.entry(manifest.name)
    directory = workspace.store.directory(manifest)
    return [
        ("model", f"{manifest.name} {manifest.version}"),
        ("title", manifest.title),
        ("task", manifest.task or ""),
        ("format", manifest.format or ""),
        ("license", f"{manifest.license} (as stated by the publisher)" if manifest.license else "not stated"),
        ("", manifest.license_notice),
        ("homepage", manifest.homepage),
        ("size", f"{format_size(manifest.size)} in {plural(len(manifest.files), 'file')}"),
        ("present", str(directory) if workspace.is_present(manifest) else "no"),
        *(("source", text) for text in _sources(manifest)),
        *_pin_facts(manifest),
        ("catalog", f"{entry.origin} {entry.path}"),
        ("", f"replaces the {entry.replaces} model of this name" if entry.replaces else ""),
        ("identity", manifest.identity),
        *_upstream_facts(workspace, manifest),
    ]


def _upstream_facts(workspace: Workspace, manifest: Manifest) -> list[tuple[str, str]]:
    if manifest.upstream is None:
        return []
    from modelfetch.pins.upstream_state import upstream_states

    return [("upstream", upstream_states(workspace, [manifest])[manifest.name].words)]


def _sources(manifest: Manifest) -> list[str]:
    """List the sources that the manifest names: those of the whole model, then the hosts of its files."""
    from modelfetch.model.source_kinds import SourceKind
    from modelfetch.net.urls import host_of
    from modelfetch.settings import redact

    hosts = dict.fromkeys(host_of(url) for file in manifest.files for url in file.urls)
    return [
        # A repository "owner/name @ commit" is no address: only addresses may contain credentials.
        *(f"{kind} {redact(text) if '://' in text else text}" for kind, text in manifest.named_sources()),
        *(f"{SourceKind.URL} {host}" for host in hosts),
    ]


def _pin_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Say where the pin came from."""
    origin = manifest.upstream
    if origin is None:
        return []
    stated = "digests computed here" if origin.stated == "computed" else f"digests stated by {origin.stated}"
    details = [f"added {origin.added}" if origin.added else "", stated if origin.stated else ""]
    said = ", ".join(filter(None, details))
    return [
        ("pinned from", f"{_reference(origin)} ({said})" if said else _reference(origin)),
        ("", " ".join(f"--include {pattern}" for pattern in origin.include)),
        ("", " ".join(f"--exclude {pattern}" for pattern in origin.exclude)),
    ]


def _reference(origin: PinOrigin) -> str:
    """Return the reference of a pin without the query of an address, which may be a secret."""
    from modelfetch.settings import redact

    return redact(origin.ref) if "://" in origin.ref else origin.ref


def path(
    name: options.Name,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="Path of a file in the model.",
            autocompletion=options.complete_file,
            show_default=False,
        ),
    ] = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Print the path of a model or of one of its files.

    Exits with code 4 if the model is not present.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.errors import OfflineError
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    manifest = workspace.manifests(names_of(workspace, [name]))[0]
    where: Path = workspace.store.directory(manifest)
    if file is not None:
        where /= manifest.file(file).path
    if not workspace.is_present(manifest) and not workspace.store.is_proven(manifest):
        raise OfflineError(
            f"{manifest.name} is not present", hint=f"Run `modelfetch ensure {manifest.name}`."
        )
    if json:
        print_json({"model": manifest.name, "version": manifest.version, "path": str(where)})
    else:
        write_path(str(where))
