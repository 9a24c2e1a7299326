"""``sources``: all known hosts in the order of use, with their health.

The order follows from the settings and, within a kind of source, from the health in the history
(:mod:`modelfetch.engine.known_hosts`). Only ``--probe`` sends requests; with ``lan.enabled`` the local
network is asked which peers there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.history import local_time, print_notice
from modelfetch.cli.output import notes, print_json, say
from modelfetch.cli.tables import Column, print_table

if TYPE_CHECKING:
    from modelfetch.engine.known_hosts import KnownHost
    from modelfetch.model.manifest import Manifest
    from modelfetch.net.probe import Reply
    from modelfetch.workspace import Workspace


HOST = 18
"""Least width of a host, in cells, so that most addresses with a port are not cut."""

WHY = 24
"""Least width of a status, in cells, so that its first words and the success rate are not cut."""


def sources(
    probe: Annotated[
        bool, typer.Option("--probe", help="Send one request to each host now, with a limit of 5 s.")
    ] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """List all sources in order, with their health.

    Sources come from settings, catalogs and history, and with lan.enabled from the local network. No request
    is made to them without --probe.
    """
    from modelfetch.engine.known_hosts import known_hosts
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    with workspace.history() as history:
        health = history.health(datetime.now(UTC))
    peers = _found_peers(workspace)
    found = known_hosts(workspace.loaded.settings, _manifests(workspace), health, peers)
    replies = _probe(workspace, found) if probe else {}
    print_notice(history.notice)
    if json:
        print_json({"sources": [_document(each, replies) for each in found]})
        return
    notes(workspace)
    _print(found, replies)


def _found_peers(workspace: Workspace) -> list[str]:
    """Find the peers in the local network, if that is turned on; half a second."""
    if not workspace.loaded.settings.lan.enabled or workspace.loaded.offline:
        return []
    from modelfetch.sources.peer_search import found_peers
    from modelfetch.store.instance import instance_of

    found = found_peers(lambda notice: say(f"note: {notice}"))
    own = instance_of(workspace.store.root)
    return [peer.url for peer in found if peer.instance != own]


def _manifests(workspace: Workspace) -> Iterator[Manifest]:
    from modelfetch.errors import ManifestError

    for name in workspace.catalog.names():
        try:
            yield workspace.catalog.get(name)
        except ManifestError as error:
            say(f"warning: {error.message}")


def _probe(workspace: Workspace, found: Sequence[KnownHost]) -> dict[KnownHost, Reply]:
    from modelfetch.errors import OfflineError
    from modelfetch.net.probe import probe

    if workspace.loaded.offline:
        raise OfflineError(
            "--probe needs the network, which offline mode forbids",
            hint="Leave out --probe, or turn off offline mode.",
        )
    asked = [each for each in found if each.question is not None]
    questions = [each.question for each in asked if each.question is not None]
    return dict(zip(asked, probe(questions), strict=True))


def _document(each: KnownHost, replies: Mapping[KnownHost, Reply]) -> dict[str, Any]:
    from modelfetch.history.health import facts

    reply = replies.get(each)
    probed = {
        "probe": reply and {"status": reply.status, "ms": round(1000 * reply.seconds), "error": reply.error}
    }
    return {
        "source": each.kind,
        "host": each.host,
        "place": each.position,
        **facts(each.health),
        "known_from": each.known_from,
        "reason": each.reason,
        **(probed if replies else {}),
    }


def _print(found: Sequence[KnownHost], replies: Mapping[KnownHost, Reply]) -> None:
    rows = [
        [
            each.kind,
            "-" if each.position is None else f"{each.position}",
            each.host,
            each.known_from,
            local_time(each.health.last) if each.health else "-",
            each.reason,
            *([_answer(replies.get(each))] if replies else []),
        ]
        for each in found
    ]
    columns = [
        Column("kind"),
        Column("order", right=True, drop=2),
        Column("host", flexible=True, least=HOST),
        Column("known from", drop=4),
        Column("last used", drop=3),
        Column("status", flexible=True, least=WHY, fold=True, drop=1),
        *([Column("probe", flexible=True, fold=True)] if replies else []),
    ]
    print_table(columns, rows)


def _answer(reply: Reply | None) -> str:
    if reply is None:
        return "-"
    return f"{reply.status} in {1000 * reply.seconds:.0f} ms" if reply.status else reply.error
