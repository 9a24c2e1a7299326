"""``ci``: print a recipe for a CI service, a container or a cluster, with the project's models filled in.

The recipes for GitHub, GitLab, Slurm and Ray read the project's ``modelfetch.toml`` when they run, unless
models are named. The others name the models, and contain or copy the manifests of the project's own catalog,
with their torrents where a swarm is used, so that nothing else of the project is needed in a container or on
a host::

    modelfetch ci github > .github/workflows/models.yml
    modelfetch ci docker silero-vad > Containerfile
"""

from __future__ import annotations

import base64
import json as jsonlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from modelfetch.catalog.lookup import TORRENT_SUFFIX
from modelfetch.cli import options
from modelfetch.cli.output import notes, print_json, print_line, say
from modelfetch.errors import UsageError
from modelfetch.model.text import sanitize
from modelfetch.version import __version__

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.workspace import Workspace

_CHECKOUT: Final = "./tools/modelfetch"
"""Where the guides keep a checkout of modelfetch in a project."""
_PACKAGE: Final = re.compile(r"[A-Za-z0-9./][A-Za-z0-9./:@+=%~_\[\],-]*")
_IMAGE: Final = re.compile(r"[a-z0-9][a-z0-9./:_-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PATH: Final = re.compile(r"[A-Za-z0-9_./-]+")
"""Values with these characters need no quoting in a shell, YAML, a Containerfile or a compose file."""

_CONFIG_MAP: Final = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: modelfetch-catalog
data:
"""
_MOUNT_CATALOG: Final = """\
- name: catalog
  mountPath: /etc/modelfetch/catalog
  readOnly: true"""


class Target(StrEnum):
    """What there is a recipe for."""

    GITHUB = "github"
    GITLAB = "gitlab"
    DOCKER = "docker"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    SLURM = "slurm"
    RAY = "ray"
    ANSIBLE = "ansible"

    @property
    def is_checkout(self) -> bool:
        """Whether the recipe runs in a checkout of the project, with its modelfetch.toml and catalogs."""
        return self in (Target.GITHUB, Target.GITLAB, Target.SLURM, Target.RAY)


def ci(
    target: Annotated[
        Target,
        typer.Argument(
            metavar="TARGET",
            help="github, gitlab, docker, compose, kubernetes, slurm, ray or ansible.",
            show_default=False,
        ),
    ],
    names: options.Names = None,
    package: Annotated[
        str,
        typer.Option("--package", metavar="SPEC", help="What pip installs: a directory or a requirement."),
    ] = _CHECKOUT,
    image: Annotated[
        str,
        typer.Option(
            "--image", metavar="IMAGE", help="Name and tag of the image, for docker, compose and kubernetes."
        ),
    ] = f"localhost/modelfetch:{__version__}",
    json: options.Json = False,
) -> None:
    """Print a recipe for a CI service, a container or a cluster.

    The models are filled in: those that are named, or those that modelfetch.toml lists.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.cli.recipes import RECIPES, fill
    from modelfetch.workspace import Workspace

    _check(package, _PACKAGE, "--package", "a directory such as ./tools/modelfetch, or a requirement")
    _check(image, _IMAGE, "--image", "an image with its tag, such as registry.example.org/modelfetch:1")
    workspace = Workspace.open()
    manifests = workspace.manifests(names_of(workspace, names or ()))
    own = dict(_own_manifests(workspace, manifests, target))
    root = _root(workspace)
    values = _values(manifests, own, package, image, root) | {
        "NAMES": " " + " ".join(manifest.name for manifest in manifests) if names else "",
        **_kubernetes(own if target is Target.KUBERNETES else {}, root),
    }
    recipe = RECIPES[target]
    text = fill(recipe.text, values)
    if json:
        print_json({"target": target.value, "path": recipe.path, "recipe": text})
        return
    notes(workspace)
    for line in text.splitlines():
        print_line(line)
    if not target.is_checkout:
        _note_settings(workspace)
    say(f"save it as {recipe.path} in the root of the repository")


def _note_settings(workspace: Workspace) -> None:
    """Name the settings of the project's file, which a recipe that runs elsewhere does not have.

    They are not written into it: an address may have a password.
    """
    from modelfetch.settings.table import BY_NAME

    found = [name for name, origin in workspace.loaded.origins.items() if origin.startswith("project file ")]
    variables = ", ".join(BY_NAME[name].variable for name in found)
    if variables:
        say(f"note: the recipe is without the settings of modelfetch.toml; set there: {variables}")


def _check(value: str, form: re.Pattern[str], option: str, example: str) -> None:
    """Refuse a value that cannot be put into every recipe as it is."""
    if not form.fullmatch(value) or ".." in value.split("/"):
        raise UsageError(f"{option}: this value cannot be used in a recipe", hint=f"Give {example}.")


def _root(workspace: Workspace) -> Path:
    """The directory of the project; without a project, the working directory."""
    from modelfetch.settings.locations import working_directory

    found = workspace.loaded.project_file
    return found.parent if found is not None else working_directory() or Path()


def _own_manifests(
    workspace: Workspace, manifests: Sequence[Manifest], target: Target
) -> Iterator[tuple[str, Path]]:
    """The models that are not built-in, with the paths of their manifests relative to the project.

    Raises:
        UsageError: The recipe could not find a manifest where it runs.
    """
    root = _root(workspace)
    for manifest in manifests:
        entry = workspace.catalog.entry(manifest.name)
        if entry.origin == "built-in":
            continue
        is_there = entry.origin == "project" or not target.is_checkout
        if not is_there or not entry.path.is_relative_to(root):
            raise UsageError(
                f"{manifest.name} is pinned outside of the project, in {sanitize(str(entry.path))}",
                hint="Pin it in the project: `modelfetch add REF --to-catalog project`.",
            )
        path = entry.path.relative_to(root)
        _check(
            path.as_posix(), _PATH, f"the manifest {path}", "it a path of letters, digits, '.', '_' and '-'"
        )
        yield manifest.name, path


def _values(
    manifests: Sequence[Manifest], own: Mapping[str, Path], package: str, image: str, root: Path
) -> dict[str, str]:
    """The values of all fields but NAMES."""
    from modelfetch.cli.cache_key import key_of

    names = [manifest.name for manifest in manifests]
    directory, extras = _directory(package)
    return {
        "MODELS": ", ".join(names),
        "WORDS": " ".join(names),
        "LIST": ", ".join(map(jsonlib.dumps, names)),
        "ITEMS": "\n".join(f"- {jsonlib.dumps(name)}" for name in names),
        "KEY": key_of(manifests),
        "PACKAGE": shlex.quote(package),
        "PACKAGE_IN_IMAGE": shlex.quote(f"/tmp/modelfetch{extras}" if directory else package),  # noqa: S108 - in an image
        "COPY_PACKAGE": f"COPY {directory} /tmp/modelfetch" if directory else "",
        "IMAGE": image,
        "LAYERS": "\n".join(_layer(name, own.get(name)) for name in names),
        **_compose(own),
        **_ansible(own, package, root),
    }


def _layer(name: str, manifest: Path | None) -> str:
    """The lines of a Containerfile for one model. Only a change of its own manifest makes its layer anew."""
    copy = f"COPY {manifest.as_posix()} /etc/modelfetch/catalog/\n" if manifest is not None else ""
    return f"{copy}RUN modelfetch ensure {name}"


def _compose(own: Mapping[str, Path]) -> dict[str, str]:
    """The manifests as configs of a compose file."""
    # The names in quotes: YAML takes null, on and 1.0 for something else.
    used = [f'  - source: "{name}"\n    target: /etc/modelfetch/catalog/{name}.toml' for name in own]
    files = [f'  "{name}":\n    file: ./{path.as_posix()}' for name, path in own.items()]
    return {
        "USED_CONFIGS": "\n".join(["configs:", *used]) if own else "",
        "CONFIGS": "\n".join(["configs:", *files]) if own else "",
    }


_ON_HOST: Final = "/usr/local/src/modelfetch"
"""Where a checkout is copied to on a host."""
_FOR_SERVICE: Final = "[serve,swarm]"
"""Extras that the service on a host needs."""
_COPY_TASK: Final = """\
- name: {title}
  ansible.builtin.copy:
    src: "{source}"
    dest: {target}
    mode: "{mode}"
"""


def _ansible(own: Mapping[str, Path], package: str, root: Path) -> dict[str, str]:
    """The tasks that copy manifests, torrents and a checkout of modelfetch; and what pip installs."""
    directory, extras = _directory(package)
    copied = [(f"the manifest of {name}", path) for name, path in own.items()]
    copied += [(f"the torrent of {name}", path) for name, path in _torrents(own, root).items()]
    tasks = [
        _COPY_TASK.format(
            title=f"Copy {what}",
            source=path.as_posix(),
            target=f"/etc/modelfetch/catalog/{path.name}",
            mode="0644",
        )
        for what, path in copied
    ]
    if directory:
        source = f"{directory.rstrip('/')}/"
        tasks.append(
            _COPY_TASK.format(title="Copy modelfetch", source=source, target=f"{_ON_HOST}/", mode="preserve")
        )
    return {
        "COPY_TASKS": "".join(tasks).rstrip("\n"),
        "PACKAGE_ON_HOST": f"{_ON_HOST}{extras or _FOR_SERVICE}" if directory else package,
    }


def _directory(package: str) -> tuple[str, str]:
    """Split a directory with extras, such as ``./tools/modelfetch[serve]``; empty for a requirement."""
    if not package.startswith((".", "/")):
        return "", ""
    directory, bracket, extras = package.partition("[")
    return directory, f"{bracket}{extras}"


def _kubernetes(own: Mapping[str, Path], root: Path) -> dict[str, str]:
    """The manifests as a ConfigMap, and where it is mounted."""
    if not own:
        return dict.fromkeys(("CONFIG_MAP", "MOUNT_CATALOG", "CATALOG_VOLUME"), "")
    texts = _texts(own, root)
    data = "\n".join(f"  {name}.toml: {_yaml_text(text)}" for name, text in texts.items())
    room = _MOST_BYTES - sum(len(text.encode()) for text in texts.values())
    torrents = _fitting(_torrents(own, root), root, room)
    binary = [f"  {name}: {base64.b64encode(torrent).decode()}" for name, torrent in torrents.items()]
    return {
        "CONFIG_MAP": "\n".join([_CONFIG_MAP + data, *(["binaryData:"] if binary else []), *binary, "---"]),
        "MOUNT_CATALOG": _MOUNT_CATALOG,
        "CATALOG_VOLUME": "- name: catalog\n  configMap:\n    name: modelfetch-catalog",
    }


def _yaml_text(text: str) -> str:
    """A text as the value of a key that is indented by two spaces."""
    if not text.isascii() or "\r" in text or not text.strip():
        return '"' + "".join(map(_escaped, text)) + '"'  # in a block these would be line breaks, or lost
    # The digit is the indentation, which the first line may hide; "+" keeps empty lines at the end.
    return "|2+\n" + "\n".join(f"    {line}" if line else "" for line in text.removesuffix("\n").split("\n"))


def _escaped(character: str) -> str:
    is_plain = " " <= character <= "~" and character not in '"\\'
    return character if is_plain else f"\\U{ord(character):08x}"


_MOST_BYTES: Final = 1 << 20
"""Most bytes of a ConfigMap (kubernetes.io, "ConfigMaps": its data cannot exceed 1 MiB)."""


def _texts(own: Mapping[str, Path], root: Path) -> dict[str, str]:
    """Read manifests, which were parsed before.

    Raises:
        UsageError: They are too large for a ConfigMap.
    """
    texts = {name: (root / path).read_text("utf-8") for name, path in own.items()}
    if sum(len(text.encode()) for text in texts.values()) > _MOST_BYTES:
        raise UsageError(
            "the manifests are larger than a ConfigMap may be",
            hint="Bake the models into an image instead: `modelfetch ci docker`.",
        )
    return texts


def _torrents(own: Mapping[str, Path], root: Path) -> dict[str, Path]:
    """The torrents beside manifests. Machines that start together, none with the torrent, have no swarm."""
    beside = {name: path.with_name(f"{name}{TORRENT_SUFFIX}") for name, path in own.items()}
    return {name: path for name, path in beside.items() if (root / path).is_file()}


def _fitting(torrents: Mapping[str, Path], root: Path, room: int) -> dict[str, bytes]:
    """Read the torrents that a ConfigMap has room for, in bytes; a line says which it has not."""
    found: dict[str, bytes] = {}
    for path in torrents.values():
        data = (root / path).read_bytes()
        if len(data) <= room:
            found[path.name] = data
            room -= len(data)
        else:
            say(f"note: {path} does not fit into a ConfigMap; without it, each node reads the hub")
    return found
