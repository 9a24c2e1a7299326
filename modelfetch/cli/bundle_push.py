"""``bundle push`` and ``bundle pull``: models through a registry or a bucket that other machines reach, too.

``push`` writes the artifacts that ``bundle create`` would write into a registry, and skips what is there.
``pull`` is ``ensure`` of a reference to such an artifact. stdout gets a line for each model::

    $ modelfetch bundle push whisper-base oci:registry.example/models/whisper-base
    oci:registry.example/models/whisper-base@sha256:...

stderr gets a line for each file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from modelfetch.cli import options, pushing
from modelfetch.cli.bucket_push import push_to_bucket
from modelfetch.cli.output import notes, print_json, print_line, say

if TYPE_CHECKING:
    from modelfetch.bundle.push import Pushed, PushedModel, Pusher
    from modelfetch.bundle.push_targets import Target
    from modelfetch.workspace import Workspace

PATH_HINT: Final = "Give the path of a bundle."
"""What to do about an empty path."""

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Models or references.",
        autocompletion=options.complete_model,
        default_factory=list,
        show_default=False,
    ),
]
Repository = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="Where they go: oci:REGISTRY/REPO, oci:REGISTRY/REPO:TAG or s3://BUCKET/PREFIX.",
        show_default=False,
    ),
]
Bundle = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="PATH",
        help="Push from this bundle instead of the cache; without NAME all its models.",
        show_default=False,
    ),
]
Artifact = Annotated[
    str,
    typer.Argument(metavar="REF", help="What was pushed: oci:REGISTRY/REPO:TAG.", show_default=False),
]


def push(
    names: Names,
    reference: Repository,
    from_: Bundle = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be pushed.")] = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Push models that are present to a registry or a bucket.

    Prints the reference of each; for a bucket the template of the mirror that it is. Files that are there are
    skipped, and a push that was interrupted continues when it is run again. In a registry, the tag is the
    version of the model if none is given, and several models go to REPO/NAME each. Logins are those of docker
    and podman, or of the tools of the object store.
    """
    from modelfetch.bundle.push_targets import bucket_of, target_of
    from modelfetch.model.object_address import ObjectAddress
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    place = bucket_of(reference) or target_of(reference)
    _check_online(workspace, place.place, offline=offline)
    if not (quiet or json):
        notes(workspace)
    with ExitStack() as stack:
        models = _models(stack, workspace, names, from_)
        if isinstance(place, ObjectAddress):
            push_to_bucket(workspace, models, place, dry_run=dry_run, quiet=quiet, json=json)
        else:
            _push_to_registry(workspace, models, place, dry_run=dry_run, quiet=quiet, json=json)


def _push_to_registry(
    workspace: Workspace,
    models: Sequence[PushedModel],
    target: Target,
    *,
    dry_run: bool,
    quiet: bool,
    json: bool,
) -> None:
    from modelfetch.bundle.push_targets import targets

    with _pusher(workspace, quiet=quiet or json, dry_run=dry_run) as pusher:
        placed = targets(target, [(each.manifest.name, each.manifest.version) for each in models])
        done: list[tuple[PushedModel, Target, Pushed]] = []
        for model, place in zip(models, placed, strict=True):
            with pushing.recorded(workspace, model, dry_run=dry_run):
                pushed = pusher.push(model, place.repository, place.tag, dry_run=dry_run)
            done.append((model, place, pushed))
            if not json:  # at once: what was pushed stays pushed, even if a later model fails
                _print(model, place, pushed, dry_run=dry_run, quiet=quiet)
    if json:
        print_json({"models": [_document(*each) for each in done], "dry_run": dry_run})


def pull(
    reference: Artifact,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Pin and fetch a model that was pushed to a registry.

    The same as `modelfetch ensure oci:...`: prints its directory.
    """
    from modelfetch.bundle.push_targets import check_scheme
    from modelfetch.cli.run import run_ensure
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.engine.setup import RunOptions

    check_scheme(reference)
    asked = EnsureOptions({"cache_dir": cache_dir}, RunOptions(offline))
    raise typer.Exit(run_ensure([reference], asked, json=json, quiet=quiet))


def _check_online(workspace: Workspace, where: str, *, offline: bool) -> None:
    from modelfetch.errors import OfflineError

    if offline or workspace.loaded.offline:
        raise OfflineError(
            f"cannot push to {where}: the network may not be used",
            hint="Run again without --offline (MODELFETCH_OFFLINE, HF_HUB_OFFLINE).",
        )


def _models(
    stack: ExitStack, workspace: Workspace, names: Sequence[str], from_: str | None
) -> list[PushedModel]:
    """The models to be pushed, of the cache or of a bundle, which stays open until the end."""
    from modelfetch.bundle.push import model_of
    from modelfetch.cli.pinning import names_of

    if from_ is not None:
        return _bundled(stack, names, from_)
    if not names:
        from modelfetch.errors import UsageError

        raise UsageError("no model is named", hint="Write `modelfetch bundle push NAME oci:REGISTRY/REPO`.")
    store = workspace.store
    return [model_of(store, manifest) for manifest in workspace.manifests(names_of(workspace, names))]


def _bundled(stack: ExitStack, names: Sequence[str], from_: str) -> list[PushedModel]:
    from modelfetch.bundle.bundled_models import guarded, models_of, opened
    from modelfetch.bundle.push import bundled_model
    from modelfetch.errors import UnknownModelError
    from modelfetch.model.text import quote, sanitize, shell_word

    path = options.given_path(from_, "--from", PATH_HINT)
    bundle = opened(path)
    stack.callback(bundle.close)
    found = {each.manifest.name: each for each in guarded(path, lambda: models_of(bundle))}
    for name in names:
        if name not in found:
            raise UnknownModelError(
                f"{sanitize(str(path))} has no model {quote(name)}",
                hint=f"`modelfetch bundle inspect {shell_word(from_)}` lists its models.",
            )
    return [bundled_model(path, bundle, found[name]) for name in dict.fromkeys(names or found)]


@contextmanager
def _pusher(workspace: Workspace, *, quiet: bool, dry_run: bool) -> Iterator[Pusher]:
    """Open connections to registries, with the logins of the user's container tools."""
    from modelfetch.bundle.push import Pusher
    from modelfetch.bundle.upload_notes import UploadNotes
    from modelfetch.net.registry_auth import RegistryAuth
    from modelfetch.settings.docker_credentials import RegistryLogins

    upload_notes = UploadNotes(workspace.loaded.cache_dir)
    with pushing.connections(workspace, quiet=quiet) as used:
        logins = RegistryLogins.of_user(os.environ, lambda text: used.line.say(f"note: {text}"))
        auth = RegistryAuth(used.hub.client, logins.find, is_writing=not dry_run)
        try:
            yield Pusher(used.hub, auth, upload_notes, used.watch, used.report)
        finally:
            upload_notes.tidy()


def _print(model: PushedModel, place: Target, pushed: Pushed, *, dry_run: bool, quiet: bool) -> None:
    if not quiet:
        words = pushing.summary(model, pushed.blobs, place.text, dry_run=dry_run)
        say(f"{words}{', and the tag' if pushed.is_tagged else ''}")
    print_line(place.by_digest(model.sha256))


def _document(model: PushedModel, place: Target, pushed: Pushed) -> dict[str, Any]:
    named = {
        "reference": place.by_digest(model.sha256),
        "tag": place.tag,
        "tagged": pushed.is_tagged,
        "digest": f"sha256:{model.sha256}",
    }
    return pushing.document(model, pushed.blobs, named)
