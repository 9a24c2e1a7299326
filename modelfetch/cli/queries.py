"""The work of ``list``, ``show`` and ``path``: the models of the catalogs, and those in the cache.

The options are parsed already: by typer in :mod:`modelfetch.cli.models`, or without it in
:mod:`modelfetch.cli.entry`. None of the commands uses the network. A model is present if its files have the
size and time that they had when they were verified; ``path`` reads the files again if they differ, since
scripts rely on its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfetch.cli.list_filters import Sort, matcher, ordered
from modelfetch.cli.output import notes, print_json, print_line, say
from modelfetch.cli.tables import Column, print_facts, print_table
from modelfetch.model.paths import is_reference
from modelfetch.model.units import format_size, parse_time
from modelfetch.streams import write_path
from modelfetch.workspace import Workspace

if TYPE_CHECKING:
    from modelfetch.keep.last_use import LastUses
    from modelfetch.model.manifest import Manifest, PinOrigin
    from modelfetch.store import Store


_NAME = 32
"""Least width of a model's name, in cells: longer ones are rare, and are shortened in the middle."""
_LICENSE = 12
"""Most width of a license, in cells: common identifiers fit, and a sentence would take the title's room."""
_TITLE = 24
"""Least width of a title, in cells: relatives differ only after some words, so less tells nothing."""
_PATH = 32
"""Least width of a path, in cells; if the terminal is too narrow for it, digests go below their rows."""


def run_list(
    pattern: str | None = None,
    *,
    present: bool = False,
    task: str | None = None,
    sort: Sort = Sort.NAME,
    size: bool = False,
    cache_dir: str | None = None,
    json: bool = False,
) -> None:
    """Print the models of all catalogs.

    Args:
        pattern: Part of a name or title, or a pattern with wildcards; None for every model.
        present: Whether to list present models only.
        task: List models for this task only.
        sort: The order.
        size: Whether to print the disk space of each model.
        cache_dir: Root of the cache, instead of that of the settings.
        json: Whether stdout gets a JSON document instead of a table.

    Raises:
        ConfigError: A setting or a named catalog is wrong.
    """
    workspace = Workspace.open({"cache_dir": cache_dir})
    is_wanted = matcher(pattern)
    # Only what shows the last uses pays for reading them.
    uses = _last_uses(workspace) if json or sort == Sort.USED else None
    manifests = [each for each in _readable(workspace) if is_wanted(each) and task in (None, each.task)]
    upstreams = _upstreams(workspace, manifests)
    store = workspace.store
    with store.looking():
        models = [
            _summary(workspace, store, manifest, uses, with_path=json or size)
            | {"upstream": upstreams.get(manifest.name)}
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
        say(f"the cache takes {format_size(total)}; what several models share counts once")


def _last_uses(workspace: Workspace) -> LastUses:
    from modelfetch.keep.last_use import LastUses

    return LastUses(workspace.store)


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


def _summary(
    workspace: Workspace, store: Store, manifest: Manifest, uses: LastUses | None, *, with_path: bool
) -> dict[str, Any]:
    """Facts about one model. Its path is in no table, and to find it takes as long as all the others."""
    entry = workspace.catalog.entry(manifest.name)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "present": workspace.is_present(manifest, store),
        "files": len(manifest.files),
        "size": manifest.size,
        "task": manifest.task,
        "format": manifest.format,
        "license": manifest.license,
        "title": manifest.title,
        "catalog": entry.origin,
        "replaces": entry.replaces,
        **({"path": str(store.directory(manifest))} if with_path else {}),
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


def _local(used: str | None) -> str:
    """Format the time of the last use in the local time zone."""
    if not used:
        return "-"
    from modelfetch.cli.history import local_time

    return local_time(parse_time(used))


def _print_models(models: list[dict[str, Any]]) -> None:
    with_use = any("used" in model for model in models)
    with_disk = any("disk" in model for model in models)
    rows = [
        [
            f"{model['name']} (project)" if model["replaces"] else model["name"],
            "yes" if model["present"] else "-",
            format_size(model["size"]),
            *([format_size(model["disk"]) if model["disk"] else "-"] if with_disk else []),
            *([_local(model["used"])] if with_use else []),
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


def run_show(name: str, *, cache_dir: str | None = None, json: bool = False) -> None:
    """Print everything that is known of one model.

    Args:
        name: The model: a name, an alias or a pinned reference.
        cache_dir: Root of the cache, instead of that of the settings.
        json: Whether stdout gets a JSON document instead of lines.

    Raises:
        UnknownModelError: No catalog has the model.
        ManifestError: Its manifest is invalid.
    """
    workspace = Workspace.open({"cache_dir": cache_dir})
    manifest = _manifest(workspace, name)
    if json:
        print_json(_document(workspace, manifest))
        return
    notes(workspace)
    _print_facts(workspace, manifest)


def _manifest(workspace: Workspace, name: str) -> Manifest:
    """Read the manifest of a model, given by name, alias or pinned reference."""
    names: Sequence[str] = [name]
    if is_reference(name):
        from modelfetch.cli.pinning import names_of

        names = names_of(workspace, names)
    return workspace.manifests(names)[0]


def _document(workspace: Workspace, manifest: Manifest) -> dict[str, Any]:
    from dataclasses import asdict

    from modelfetch.settings import redact

    entry = workspace.catalog.entry(manifest.name)
    document = asdict(manifest)
    del document["skeleton"], document["torrent"]  # where they would be; need not be there
    cids = workspace.store.cids(manifest)
    for file in document["files"]:
        file["urls"] = [redact(url) for url in file["urls"]]
        file["cid"] = file["cid"] or cids.get(file["path"])
    if manifest.upstream is not None:
        document["upstream"]["ref"] = _reference(manifest.upstream)
    if manifest.swarm is not None:
        document["swarm"]["trackers"] = [redact(tracker) for tracker in manifest.swarm.trackers]
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
    print_facts([(label, value) for label, value in _facts(workspace, manifest) if value])
    print_line("")
    modes = any(file.executable for file in manifest.files)
    cids = workspace.store.cids(manifest)
    rows = [
        [
            file.path,
            *(["executable" if file.executable else "-"] if modes else []),
            format_size(file.size),
            f"{file.size}",
            file.sha256,
            file.cid or cids.get(file.path, "-"),
        ]
        for file in manifest.files
    ]
    columns = [
        Column("file", flexible=True, least=_PATH),
        *([Column("mode")] if modes else []),
        Column("size", right=True),
        Column("bytes", right=True, drop=1),
        Column("sha256", whole=True),
        Column("cid", whole=True),
    ]
    print_table(columns, rows)


def _facts(workspace: Workspace, manifest: Manifest) -> list[tuple[str, str]]:
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
        ("swarm", manifest.swarm.infohash if manifest.swarm else ""),
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


def run_path(name: str, file: str | None = None, *, cache_dir: str | None = None, json: bool = False) -> None:
    """Print the path of a model, or of one of its files.

    Args:
        name: The model: a name, an alias or a pinned reference.
        file: Path of a file in the model; None for its directory.
        cache_dir: Root of the cache, instead of that of the settings.
        json: Whether stdout gets a JSON document instead of the path.

    Raises:
        OfflineError: The model is not present.
        UnknownModelError: No catalog has the model.
        ManifestError: Its manifest is invalid, or it has no such file.
    """
    from modelfetch.errors import OfflineError

    workspace = Workspace.open({"cache_dir": cache_dir})
    manifest = _manifest(workspace, name)
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
