"""``ensure`` once its words are understood, by typer or without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from modelfetch.cli.follow import Ready, run
from modelfetch.engine.assemble import RunOptions
from modelfetch.streams import write_path
from modelfetch.workspace import Workspace


def ensure(
    names: Sequence[str],
    flags: Mapping[str, object] | None = None,
    options: RunOptions | None = None,
    *,
    force: bool = False,
    to: Path | None = None,
    layout_hf: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Make models present, tell about it, and print their directories.

    Returns:
        The exit code.

    Raises:
        ModelfetchError: The run could not begin.
    """
    workspace = Workspace.open(flags)
    manifests = workspace.manifests(names)
    ready = Ready()
    events = workspace.ensure(manifests, options or RunOptions(), force=force, to=to, layout_hf=layout_hf)
    finished = run(workspace, events, json=json, quiet=quiet, also=ready)
    if not json:
        for manifest in manifests:
            if manifest.name in ready.directories:
                write_path(ready.directories[manifest.name])
    return finished.exit_code
