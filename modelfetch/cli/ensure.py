"""The commands ``ensure`` and ``plan``.

``ensure`` turns its options into one :class:`~modelfetch.engine.options.EnsureOptions` and runs, here or,
with ``--server``, on a server. ``plan`` prints what ``ensure`` would do: which files are missing, from where
they would come, and whether the disk has room for them. All imports that only one of them needs are in its
function, so that neither pays for the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, say, say_row
from modelfetch.cli.tables import Column, print_table
from modelfetch.errors import UsageError

if TYPE_CHECKING:
    from modelfetch.engine.events import Planned
    from modelfetch.history import Health
    from modelfetch.model.manifest import Manifest
    from modelfetch.workspace import Workspace


def ensure(
    context: typer.Context,
    names: options.Names = None,
    offline: options.Offline = False,
    prefer: options.Prefer = None,
    only: options.Only = None,
    from_: options.From = None,
    to: options.To = None,
    layout: options.Layout = None,
    files: options.Files = None,
    connections: options.Connections = None,
    limit_rate: options.LimitRate = None,
    timeout: options.Timeout = None,
    lock_timeout: options.LockTimeout = None,
    force: options.Force = False,
    shard: options.Shard = None,
    jitter: options.Jitter = None,
    swarm: options.Swarm = None,
    cache_dir: options.CacheDir = None,
    server: options.Server = None,
    token: options.Token = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Fetch and verify models, and print their directories.

    Resumes interrupted downloads, and changes to the next source in the middle of a file when one fails. A
    file is put in place only if its SHA-256 matches the manifest. If all files are present, no request is
    made. With --server, a running server fetches the models, and the paths are paths on its machine.
    """
    if server is not None or token is not None:
        from modelfetch.cli.remote import ensure_on_server

        ensure_on_server(context, names or (), server, token, json=json, quiet=quiet)
        return
    from modelfetch.cli.run import run_ensure
    from modelfetch.cli.shards import parse_shard
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.engine.setup import RunOptions

    settings = _settings(cache_dir, files, connections, limit_rate)
    if swarm is not None:
        settings |= _swarm(is_wanted=swarm, offline=offline)
    if from_:
        settings |= _places(settings, from_)
    run = RunOptions(offline, prefer, tuple(only or ()), timeout, lock_timeout)
    asked = EnsureOptions(settings, run, force, _directory(to), layout is options.ForeignLayout.HF)
    part = parse_shard(shard) if shard is not None else None
    if jitter is not None:
        from modelfetch.cli.jitter import check_jitter

        check_jitter(jitter, timeout)
    raise typer.Exit(run_ensure(names or (), asked, json=json, quiet=quiet, shard=part, jitter=jitter))


def _settings(
    cache_dir: str | None, files: int | None, connections: int | None, limit_rate: str | None
) -> dict[str, object]:
    """The settings that have an option of their own, by dotted name; None means not given."""
    return {
        "cache_dir": cache_dir,
        "network.files": files,
        "network.connections": connections,
        "network.limit_rate": limit_rate,
    }


def _swarm(*, is_wanted: bool, offline: bool) -> dict[str, object]:
    """The setting of ``--swarm`` and ``--no-swarm``.

    Raises:
        UsageError: libtorrent is not installed.
    """
    if is_wanted and not offline:
        from modelfetch.engine.swarm_setup import require_engine

        require_engine()
    return {"swarm.enabled": is_wanted}


def _places(settings: dict[str, object], texts: Sequence[str]) -> dict[str, object]:
    """The setting that lets a run search these places too, before those that are configured.

    Raises:
        UsageError: One of the paths is empty.
        UnknownModelError: One of them does not exist.
    """
    from modelfetch.errors import UnknownModelError
    from modelfetch.model.text import sanitize
    from modelfetch.settings.locations import absolute, working_directory
    from modelfetch.sources.local_bundles import is_bundle_file
    from modelfetch.workspace import Workspace

    paths = [absolute(Path(text), working_directory()) for text in texts if text.strip()]
    if len(paths) < len(texts):
        raise UsageError("--from is empty", hint="Give a bundle or a directory; use . for the current one.")
    for path in paths:
        if not path.is_dir() and not is_bundle_file(path):
            raise UnknownModelError(
                f"{sanitize(str(path))} does not exist", hint="Give --from a bundle or a directory."
            )
    configured = Workspace.open(settings).loaded.settings.sources.local
    return {"sources.local": [*map(str, paths), *configured]}


def _directory(to: str | None) -> Path | None:
    """The absolute directory of ``--to``.

    Raises:
        UsageError: It is empty.
    """
    hint = "Give a directory; use . for the current one."
    return None if to is None else options.given_path(to, "--to", hint)


def plan(
    names: options.Names = None,
    offline: options.Offline = False,
    prefer: options.Prefer = None,
    only: options.Only = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Show what ensure would do, and write nothing.

    Lists kept and missing files, from where they would come, and whether the disk has room for them.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.engine.setup import RunOptions
    from modelfetch.history.health import facts
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    run_options = RunOptions(offline, prefer, tuple(only or ()))
    manifests = workspace.manifests(names_of(workspace, names or ()))
    plans = list(workspace.plan(manifests, run_options))
    free = workspace.store.free_space()
    hosts = _hosts(workspace, plans)
    ways = _ways(workspace, manifests, hosts)
    if json:
        sources = [
            {"source": kind, "host": host, "proxy": ways.get((kind, host)), **facts(health)}
            for (kind, host), health in hosts.items()
        ]
        print_json({"models": [asdict(plan) for plan in plans], "sources": sources, "disk_free": free})
        return
    notes(workspace)
    for planned in plans:
        _show_plan(planned)
    _show_hosts(hosts)
    incomplete = {planned.model for planned in plans if planned.missing}
    _show_swarms(workspace, [each for each in manifests if each.name in incomplete], offline=offline)
    for (kind, host), way in ways.items():
        say(f"{kind} {host}: {way}")
    reused = sum(file.reused for planned in plans for file in planned.files)
    _show_disk(sum(planned.missing for planned in plans), reused, free)


def _show_plan(planned: Planned) -> None:
    from modelfetch.model.units import format_size
    from modelfetch.reporters.terminal_text import license_lines, plan

    say(f"{planned.model} {planned.version}: {plan(planned)}")
    for line in license_lines(planned):
        say(f"  {line}")
    rows = [
        [
            file.file,
            file.state,
            format_size(file.size),
            format_size(file.size - file.held),
            _sources(file.sources),
        ]
        for file in planned.files
    ]
    columns = [
        Column("file", flexible=True),
        Column("state"),
        Column("size", right=True),
        Column("to fetch", right=True),
        Column("sources in order", flexible=True),
    ]
    print_table(columns, rows)


def _sources(sources: tuple[str, ...]) -> str:
    """Name each source once, with its number of addresses."""
    counted = Counter(sources)
    return (
        ", ".join(f"{source} ×{count}" if count > 1 else source for source, count in counted.items()) or "-"
    )


def _hosts(workspace: Workspace, plans: Sequence[Planned]) -> dict[tuple[str, str], Health | None]:
    """The health of each host that requests would go to, in order; None when it is unknown."""
    from modelfetch.model.source_kinds import SourceKind

    named = dict.fromkeys(source for plan in plans for file in plan.files for source in file.sources)
    pairs = [
        (kind, host)
        for kind, _, host in (source.partition(" ") for source in named)
        if kind != SourceKind.LOCAL
    ]
    if not pairs:
        return {}
    with workspace.history() as history:
        health = history.health(datetime.now(UTC))
    return {pair: health.get(pair) for pair in pairs}


def _ways(
    workspace: Workspace, manifests: Sequence[Manifest], hosts: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The proxy of each host that has one, or the reason why it cannot be used."""
    from modelfetch.net.proxies import from_environment

    proxies = from_environment()
    if not proxies.is_set:
        return {}
    from modelfetch.engine.known_hosts import known_hosts  # here, as it loads httpx

    found = known_hosts(workspace.loaded.settings, manifests, {})
    urls = {(each.kind, each.host): each.question.url for each in found if each.question is not None}
    ways = {pair: proxies.describe_route(urls[pair]) for pair in hosts if pair in urls}
    return {pair: way for pair, way in ways.items() if way}


def _show_hosts(hosts: Mapping[tuple[str, str], Health | None]) -> None:
    """Explain the order of the hosts, when the health of any of them is known."""
    if not any(hosts.values()):
        return
    from modelfetch.history.health import in_words

    width = max(len(" ".join(pair)) for pair in hosts)
    for number, (pair, health) in enumerate(hosts.items()):
        order = "then" if number else "tried first"
        say_row(f"{order}: ".rjust(13) + f"{' '.join(pair):<{width}}  {in_words(pair[0], health)}")


def _show_swarms(workspace: Workspace, manifests: Sequence[Manifest], *, offline: bool) -> None:
    """Name the models that would come from a swarm, too."""
    if offline or workspace.loaded.offline or not workspace.loaded.settings.swarm.enabled:
        return
    for manifest in manifests:
        if manifest.swarm is not None:
            say(f"{manifest.name}: also from its swarm, which needs the space twice while it fetches")


def _show_disk(missing: int, reused: int, free: int | None) -> None:
    from modelfetch.model.units import format_size

    if (missing or reused) and free is not None:
        copied = f"{format_size(reused)} to copy (no space where blocks can be shared), " if reused else ""
        say(f"disk: {format_size(missing)} to write, {copied}{format_size(free)} free")
