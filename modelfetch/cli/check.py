"""``verify``, once it is known what is asked: check, tell, print what is bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelfetch.cli.follow import print_bad, run
from modelfetch.cli.talk import say
from modelfetch.engine.assemble import RunOptions
from modelfetch.workspace import Workspace


def check(
    names: Sequence[str],
    flags: Mapping[str, object] | None = None,
    options: RunOptions | None = None,
    *,
    quick: bool = False,
    repair: bool = False,
    strict: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Check models, tell about it, and print the files that are not right.

    Returns:
        The exit code.

    Raises:
        ModelfetchError: The run could not begin.
    """
    workspace = Workspace.open(flags)
    manifests = workspace.manifests(names) if names else workspace.present()
    if not (manifests or json or quiet):
        say("nothing to verify: no model is here yet")
    events = workspace.verify(manifests, options or RunOptions(), quick=quick, repair=repair, strict=strict)
    finished = run(workspace, events, json=json, quiet=quiet)
    if not json:
        print_bad(finished, quiet=quiet)
    return finished.exit_code
