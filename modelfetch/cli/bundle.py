"""``bundle``: carry models to other machines, as one file or several volumes, or through a registry.

``create`` writes models of this cache, ``import`` takes them into another one. ``inspect`` reads only what a
bundle says about itself, ``verify`` reads every byte. ``push`` and ``pull`` are in
:mod:`modelfetch.cli.bundle_push`. stdout gets paths, tables or faults, stderr the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.bundle_push import PATH_HINT, pull, push
from modelfetch.cli.help import Commands, epilog
from modelfetch.cli.output import notes, print_json, print_line, say
from modelfetch.streams import write_path

if TYPE_CHECKING:
    from modelfetch.bundle.bundled_models import BundledModel
    from modelfetch.bundle.verifier import Bundle
    from modelfetch.bundle.writer import Progress
    from modelfetch.cli.run import Ready
    from modelfetch.engine.events import RunFinished
    from modelfetch.model.manifest import Manifest
    from modelfetch.pins.imported import Wanted
    from modelfetch.workspace import Workspace

app = typer.Typer(
    name="bundle",
    cls=Commands,
    help="Carry models to other machines.",
    epilog=epilog("bundle"),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Place = Annotated[
    str,
    typer.Argument(
        metavar="PATH", help="The bundle: a file, its first volume, or a directory.", show_default=False
    ),
]


Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="FILE", help="File to write; it must not exist yet.", show_default=False
    ),
]
VolumeSize = Annotated[
    str | None,
    typer.Option(
        "--volume-size",
        metavar="SIZE",
        help="Split the bundle into FILE.001, FILE.002 and so on, each at most SIZE, such as 4GB.",
        show_default=False,
    ),
]


class Form(StrEnum):
    """What a model becomes in a bundle."""

    MODELPACK = "modelpack"
    IMAGE = "image"


FormOption = Annotated[
    Form,
    typer.Option(
        "--form",
        metavar="FORM",
        help="modelpack, whose blobs are the files, or image, which podman, buildah and Kubernetes mount.",
    ),
]
WithVerifier = Annotated[
    bool,
    typer.Option("--with-verifier", help="Add verify.py, which checks the bundle with Python alone."),
]


@app.command("create", epilog=epilog("bundle create"))
def create(
    names: options.MovedNames,
    output: Output,
    form: FormOption = Form.MODELPACK,
    volume_size: VolumeSize = None,
    with_verifier: WithVerifier = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Write models that are present into a bundle.

    Prints the path of each file. The bundle is an OCI image layout in an uncompressed tar, which tools for
    container registries read too. The same models always become the same bytes.
    """
    from modelfetch.bundle.writer import create as write_bundle
    from modelfetch.bundle.writer import summary
    from modelfetch.cli.pinning import names_of
    from modelfetch.model.units import format_size
    from modelfetch.workspace import Workspace

    target, limit = options.given_path(output, "--output", PATH_HINT), _size(volume_size)
    workspace = Workspace.open({"cache_dir": cache_dir})
    manifests = workspace.manifests(names_of(workspace, names))
    if not (quiet or json):
        notes(workspace)
    with _progress("copying", quiet=quiet or json) as progress:
        paths = write_bundle(
            workspace.store,
            manifests,
            target,
            volume_size=limit,
            verifier=with_verifier,
            image=form is Form.IMAGE,
            progress=progress,
        )
    facts = summary(manifests, image=form is Form.IMAGE)
    if json:
        models = [_facts(manifest) for manifest in manifests]
        print_json({"paths": [str(path) for path in paths], **facts, "models": models})
        return
    if not quiet:
        counted = f"{_count(facts['models'], 'model')}, {_count(facts['files'], 'file')}"
        say(f"bundled {counted}, {format_size(facts['size'])}")
    for path in paths:
        write_path(str(path))


@app.command("inspect", epilog=epilog("bundle inspect"))
def inspect(path: Place, json: options.Json = False) -> None:
    """List the models of a bundle.

    Verifies its manifests; `bundle verify` reads the files, too.
    """
    from modelfetch.cli.tables import Column, print_table
    from modelfetch.model.units import format_size

    with _opened(path) as (where, bundle):
        models = _models(where, bundle)
        is_cut = bundle.is_cut
    if json:
        listed = [_facts(each.manifest) | _artifact(each) for each in models]
        print_json({"models": listed, "complete": not is_cut})
        return
    if is_cut:
        say("warning: the bundle is cut off: its end is missing")
    columns = [
        Column("model"),
        Column("version"),
        Column("files", right=True),
        Column("size", right=True),
        Column("license", flexible=True, prose=True),
    ]
    rows = [
        [each.name, each.version, str(len(each.files)), format_size(each.size), each.license or "-"]
        for each in (model.manifest for model in models)
    ]
    print_table(columns, rows)


@app.command("import", epilog=epilog("bundle import"))
def import_(
    path: Place,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Another name for the model, if the bundle has only one.",
            show_default=False,
        ),
    ] = None,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Store the models of a bundle in the cache.

    Prints their directories, and makes no request. Every byte is verified on its way into the cache. The
    manifests go into the user's catalog. Run it again to continue an import that was interrupted.
    """
    from modelfetch.pins.imported import pin, planned
    from modelfetch.workspace import Workspace

    flags: dict[str, object] = {"cache_dir": cache_dir}
    workspace = Workspace.open(flags)
    with _opened(path) as (where, bundle):
        models = _models(where, bundle)
        _require_whole(where, models)
    wanted = planned(workspace, [model.manifest for model in models], name)
    # The run finds the blobs in the bundle, as ensure --from does: so it also continues in the middle of a
    # large one, and replaces a blob that is damaged in the cache.
    local = [str(where), *workspace.loaded.settings.sources.local]
    running = Workspace.open({**flags, "sources.local": local})
    finished, ready = _ensure(running, [each.manifest for each in wanted], quiet=quiet, json=json)
    pinned = {
        each.manifest.name: pin(workspace, each) for each in wanted if each.manifest.name in ready.directories
    }
    if json:
        print_json({"models": [_imported(each, pinned, ready) for each in wanted]})
    else:
        for model in pinned:  # in the order of the bundle, not in which they became ready
            write_path(ready.directories[model])
    raise typer.Exit(finished.exit_code)


@app.command("verify", epilog=epilog("bundle verify"))
def verify(path: Place, quiet: options.Quiet = False, json: options.Json = False) -> None:
    """Read every byte of a bundle, and print its faults.

    Exits with code 5 if anything is damaged or missing.
    """
    from modelfetch.bundle.bundled_models import guarded
    from modelfetch.bundle.verifier import check
    from modelfetch.errors import IntegrityError
    from modelfetch.model.units import format_size

    with _opened(path) as (where, bundle), _progress("verifying", quiet=quiet or json) as progress:

        def hashed(sha256: str, done: int) -> None:
            progress(sha256[:12], done, bundle.blobs[sha256])

        faults = guarded(where, lambda: check(bundle, hashed))
        if not faults:
            _models(where, bundle)  # what an import would refuse is a fault, too
    size = sum(bundle.blobs.values())
    if json:
        print_json({"ok": not faults, "blobs": len(bundle.blobs), "size": size, "faults": faults})
    else:
        for fault in faults:
            print_line(fault)
        if not faults and not quiet:
            say(f"{_count(len(bundle.blobs), 'blob')} verified, {format_size(size)}")
    raise typer.Exit(IntegrityError.exit_code if faults else 0)


# In a module of their own; here, so that the help lists them after the commands above.
app.command("push", epilog=epilog("bundle push"))(push)
app.command("pull", epilog=epilog("bundle pull"))(pull)


def _size(text: str | None) -> int | None:
    from modelfetch.errors import UsageError
    from modelfetch.model.units import parse_size

    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise UsageError(f"--volume-size: {error}", hint="Leave it out for one file.") from None


@contextmanager
def _opened(text: str) -> Iterator[tuple[Path, Bundle]]:
    from modelfetch.bundle.bundled_models import opened

    path = options.given_path(text, "PATH", PATH_HINT)
    with closing(opened(path)) as bundle:
        yield path, bundle


def _models(path: Path, bundle: Bundle) -> list[BundledModel]:
    from modelfetch.bundle.bundled_models import guarded, models_of

    return guarded(path, lambda: models_of(bundle))


@contextmanager
def _progress(verb: str, *, quiet: bool) -> Iterator[Progress]:
    """Show which file is under way."""
    from modelfetch.cli.pinning import ProgressLine

    line = ProgressLine(quiet=quiet)
    try:
        yield lambda path, done, size: line.show(verb, path, done, size)
    finally:
        line.clear()


def _require_whole(path: Path, models: Sequence[BundledModel]) -> None:
    """Refuse a bundle that lacks files of its models.

    Raises:
        IntegrityError: It does.
    """
    from modelfetch.errors import IntegrityError
    from modelfetch.model.text import sanitize

    missing = [file for model in models for file in model.missing]
    if missing:
        raise IntegrityError(
            f"{sanitize(str(path))} is cut off: it lacks {_count(len(missing), 'file')}, such as "
            f"{sanitize(missing[0])}",
            hint="Copy the rest of the bundle, and run the command again.",
        )


def _ensure(
    workspace: Workspace, manifests: Sequence[Manifest], *, quiet: bool, json: bool
) -> tuple[RunFinished, Ready]:
    """Make models present, from this disk alone."""
    from modelfetch.cli.run import Ready, run
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.engine.setup import RunOptions
    from modelfetch.model.source_kinds import SourceKind

    ready = Ready()
    # Not offline: with this kind of source alone no request is made either, and a damaged file is reported as
    # such instead of as missing.
    only = EnsureOptions(run=RunOptions(only=(SourceKind.LOCAL.value,)))
    # With --json stdout has one document, so the events of the run are not printed.
    events = workspace.ensure(manifests, only)
    return run(workspace, events, json=False, quiet=quiet or json, also=ready), ready


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "model": manifest.name,
        "version": manifest.version,
        "files": len(manifest.files),
        "size": manifest.size,
        "identity": manifest.identity,
        "license": manifest.license,
    }


def _artifact(model: BundledModel) -> dict[str, Any]:
    paths = [file.path for file in model.manifest.files]
    return {
        "form": (Form.IMAGE if model.is_image else Form.MODELPACK).value,
        "digest": f"sha256:{model.sha256}",
        "paths": paths,
        "missing": list(model.missing),
    }


def _imported(wanted: Wanted, pinned: Mapping[str, Path | None], ready: Ready) -> dict[str, Any]:
    name = wanted.manifest.name
    is_ready, file = name in ready.directories, pinned.get(name)
    state = "present" if wanted.is_known else "imported"
    return _facts(wanted.manifest) | {
        "state": state if is_ready else "failed",
        "manifest": str(file) if file else None,
        "path": ready.directories.get(name),
    }
