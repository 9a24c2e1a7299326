"""``bundle push`` to a bucket: a mirror that other machines read by digest.

stdout gets the template of the mirror, for ``sources.mirrors``; stderr a line for each file::

    $ modelfetch bundle push whisper-base s3://models/lab
    s3://models/lab/{sha256}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.cli import pushing
from modelfetch.cli.output import print_json, print_line, say

if TYPE_CHECKING:
    from modelfetch.bundle.push import PushedModel
    from modelfetch.bundle.push_bucket import Bucketed
    from modelfetch.model.object_address import ObjectAddress
    from modelfetch.workspace import Workspace


def push_to_bucket(
    workspace: Workspace,
    models: Sequence[PushedModel],
    prefix: ObjectAddress,
    *,
    dry_run: bool,
    quiet: bool,
    json: bool,
) -> None:
    """Push models, and print the template of the mirror.

    Raises:
        ModelfetchError: See :meth:`.BucketPusher.push`.
    """
    from modelfetch.bundle.push_bucket import BucketPusher, mirror_template
    from modelfetch.net.object_store import require_extra

    require_extra()
    template = mirror_template(prefix)
    done: list[tuple[PushedModel, Bucketed]] = []
    with pushing.connections(workspace, quiet=quiet or json) as used:
        pusher = BucketPusher(used.hub, prefix, used.watch, used.report)
        for model in models:
            with pushing.recorded(workspace, model, dry_run=dry_run):
                pushed = pusher.push(model, dry_run=dry_run)
            done.append((model, pushed))
            if not (json or quiet):
                words = pushing.summary(model, pushed.blobs, prefix.text, dry_run=dry_run)
                say(f"{words}; its manifest: {pushed.manifest.text}")
    if json:
        documents = [
            pushing.document(model, pushed.blobs, {"mirror": template, "manifest": pushed.manifest.text})
            for model, pushed in done
        ]
        print_json({"models": documents, "dry_run": dry_run})
        return
    print_line(template)
    if not quiet:
        say(f"to read from it: modelfetch config set sources.mirrors '{template}'")
