"""Parsing of manifests: TOML to :class:`~modelfetch.model.manifest.Manifest`.

The format is described in ``docs/reference/manifest.md``; anything else is rejected here. So later code need
not check again that a digest is a digest or that a path stays inside its directory. All faults are reported
at once, each with its key: ``files[3].sha256: 'x' must be 64 of 0-9 a-f``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, cast, get_args

from modelfetch.errors import ManifestError
from modelfetch.model.addresses import (
    URL_CHARACTERS,
    is_object_url,
    why_bad_location,
    why_bad_object_url,
    why_bad_repository,
    why_bad_template,
    why_bad_tracker,
    why_bad_url,
)
from modelfetch.model.manifest import (
    FileSpec,
    Format,
    HuggingFaceRepo,
    Kind,
    Manifest,
    ModelScopeRepo,
    ModelScopeType,
    PinOrigin,
    RepoType,
    SwarmTorrent,
    Task,
)
from modelfetch.model.paths import clashes, why_bad_name, why_bad_version, why_unsafe, why_unsafe_remote
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import did_you_mean, quote, sanitize, visible
from modelfetch.model.toml import Check, Faults, Table, parse_toml, why_not_text
from modelfetch.model.units import SIZE_LIMIT

SCHEMA: Final = 1
"""The version of the format; a manifest states it as ``schema``."""
BYTES_LIMIT: Final = 4 * 1024 * 1024
"""Largest manifest, in bytes (The Update Framework limits its metadata too, against endless data)."""
FILES_LIMIT: Final = 20_000
"""Most files of a manifest."""
WORDS_LIMIT: Final = 1000
"""Longest title, license or pattern, in characters: each is shown as one line."""
PATTERNS_LIMIT: Final = 100
"""Most patterns of ``include`` or ``exclude``: each is compared with every file of a repository."""
TRACKERS_LIMIT: Final = 20
"""Most trackers of a swarm: each is announced to."""

_ROOT: Final = (
    "schema",
    "name",
    "version",
    "kind",
    "task",
    "format",
    "title",
    "license",
    "homepage",
    "huggingface",
    "modelscope",
    "oci",
    "ipfs",
    "mirrors",
    "swarm",
    "files",
    "upstream",
)
_HUGGINGFACE: Final = ("repo", "revision", "type")
_FILE: Final = ("path", "size", "sha256", "cid", "huggingface_path", "urls", "executable")
_UPSTREAM: Final = ("ref", "include", "exclude", "added", "stated")

_REPO: Final = r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_REVISION: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_BRANCH: Final = r"(?!.*(?:\.\.|//))[A-Za-z0-9_][A-Za-z0-9._/+-]{0,253}[A-Za-z0-9_+-]|[A-Za-z0-9_]"
"""A commit, branch or tag: a subset of what git allows (git-check-ref-format), safe in any URL.

This pattern and the others that are kept as text are compiled on first use: few manifests have these keys,
and every run would pay for it."""
_DATE: Final = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CREDENTIALS: Final = r"(?:oci|ollama):[^/]*@[^/]*/"
"""Credentials before the host of a registry: ``oci:user:password@host/path``."""
_CID: Final = r"[bBzfFkQ][A-Za-z0-9]{7,511}"


def load_manifest(path: Path, content: bytes | None = None) -> Manifest:
    """Read a manifest from a file, which must be called ``<name>.toml``.

    Args:
        path: The file.
        content: The content of the file, if it lies inside an archive.

    Raises:
        ManifestError: The file cannot be read, or the manifest is invalid; the error lists all faults.
    """
    where = sanitize(str(path))
    faults = Faults()
    manifest = _manifest(_root(_read(path, where, content), where, faults))
    # A name with a fault of its own reads as an empty string.
    if manifest.name and path.name != f"{manifest.name}.toml":
        faults.add("name", f"is {quote(manifest.name)}, but the file is called {quote(path.name)}")
    faults.raise_any(where)
    return manifest


def _read(path: Path, where: str, content: bytes | None) -> str:
    try:
        return (read_regular(path, BYTES_LIMIT + 1) if content is None else content).decode()
    except OSError as error:
        raise ManifestError(where, [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ManifestError(where, [why_not_text(error)]) from error
    except ValueError as error:
        raise ManifestError(where, [str(error)]) from error


def _root(text: str, where: str, faults: Faults) -> Table:
    """Check size, syntax and schema; without them no key has a meaning."""
    if len(text) > BYTES_LIMIT:
        raise ManifestError(where, ["larger than 4 MiB"])
    try:
        data = parse_toml(text)
    except ValueError as error:
        raise ManifestError(where, [f"not valid TOML: {error}"]) from error
    schema = data.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise ManifestError(where, ["schema: written for a newer modelfetch; upgrade modelfetch to use it"])
    if type(schema) is not int or schema != SCHEMA:
        faults.add("schema", f"must be {SCHEMA}" if "schema" in data else "missing")
    return Table(data, "", _ROOT, faults)


def _manifest(root: Table) -> Manifest:
    oci = root.table("oci", ("repository",))
    ipfs = root.table("ipfs", ("cid",))
    mirrors = root.table("mirrors", ("urls",))
    swarm = root.table("swarm", ("infohash", "trackers"))
    return Manifest(
        name=root.text("name", why_bad_name),
        version=root.text("version", why_bad_version),
        kind=cast("Kind", root.text("kind", _KIND, default="model")),
        task=cast("Task | None", root.optional_text("task", _TASK)),
        format=cast("Format | None", root.optional_text("format", _FORMAT)),
        title=root.text("title", _why_bad_words, default=""),
        license=root.text("license", _why_bad_words, default=""),
        homepage=root.text("homepage", why_bad_url, default=""),
        huggingface=_huggingface(root.table("huggingface", _HUGGINGFACE)),
        modelscope=_modelscope(root.table("modelscope", _HUGGINGFACE)),
        oci=oci.text("repository", why_bad_repository) if oci else None,
        ipfs_cid=ipfs.text("cid", _why_bad_cid) if ipfs else None,
        mirrors=mirrors.texts("urls", why_bad_template, is_required=True) if mirrors else (),
        swarm=_swarm(swarm) if swarm else None,
        files=_files(root.tables("files", _FILE, FILES_LIMIT)),
        upstream=_upstream(root.table("upstream", _UPSTREAM)),
    )


def _huggingface(table: Table | None) -> HuggingFaceRepo | None:
    if table is None:
        return None
    return HuggingFaceRepo(
        repo=table.text("repo", _why_bad_repo),
        revision=table.text("revision", _why_bad_commit),
        type=cast("RepoType", table.text("type", _REPO_TYPE, default="model")),
    )


def _modelscope(table: Table | None) -> ModelScopeRepo | None:
    if table is None:
        return None
    return ModelScopeRepo(
        repo=table.text("repo", _why_bad_modelscope_repo),
        revision=table.text("revision", _why_bad_branch),
        type=cast("ModelScopeType", table.text("type", _MODELSCOPE_TYPE, default="model")),
    )


def _upstream(table: Table | None) -> PinOrigin | None:
    if table is None:
        return None
    return PinOrigin(
        ref=table.text("ref", _why_bad_reference),
        include=_patterns(table, "include"),
        exclude=_patterns(table, "exclude"),
        added=table.text("added", _why_bad_date, default=""),
        stated=table.text("stated", _why_bad_words, default=""),
    )


def _swarm(table: Table) -> SwarmTorrent:
    trackers = table.texts("trackers", why_bad_tracker)
    if len(trackers) > TRACKERS_LIMIT:
        table.fault("trackers", f"must have at most {TRACKERS_LIMIT} entries, not {len(trackers)}")
    return SwarmTorrent(table.text("infohash", _why_bad_sha256), trackers)


def _patterns(table: Table, key: str) -> tuple[str, ...]:
    patterns = table.texts(key, _why_bad_words)
    if len(patterns) > PATTERNS_LIMIT:
        table.fault(key, f"must have at most {PATTERNS_LIMIT} entries, not {len(patterns)}")
    return patterns


def _files(tables: Iterable[Table]) -> tuple[FileSpec, ...]:
    """Read all files, and check them against each other: clashing paths, one digest with two sizes."""
    read = [(table, _file(table)) for table in tables]
    for index, clause in clashes([file.path for _, file in read]):
        table, file = read[index]
        table.fault("path", f"{quote(file.path)} {clause}")
    sizes: dict[str, int] = {}
    for table, file in read:
        if file.sha256 and file.size >= 0 and sizes.setdefault(file.sha256, file.size) != file.size:
            table.fault("size", "another file has the same sha256, but not the same size")
    return tuple(file for _, file in read)


def _file(table: Table) -> FileSpec:
    return FileSpec(
        path=table.text("path", why_unsafe),
        size=table.integer("size", SIZE_LIMIT),
        sha256=table.text("sha256", _why_bad_sha256),
        cid=table.optional_text("cid", _why_bad_cid),
        huggingface_path=table.optional_text("huggingface_path", why_unsafe_remote),
        urls=table.texts("urls", why_bad_location),
        executable=table.flag("executable"),
    )


def _why_bad_sha256(text: str) -> str:
    return "" if _SHA256.fullmatch(text) else "must be 64 of 0-9 a-f"


def _why_bad_commit(text: str) -> str:
    return "" if _REVISION.fullmatch(text) else "must be a full commit: 40 of 0-9 a-f"


def _why_bad_branch(text: str) -> str:
    return "" if re.fullmatch(_BRANCH, text) else "must be a commit, or the name of a branch or tag"


def _why_bad_date(text: str) -> str:
    return "" if re.fullmatch(_DATE, text) else "must be a date: YYYY-MM-DD"


def _one_of(choices: tuple[str, ...]) -> Check:
    listed = ", ".join(choices)
    return lambda text: "" if text in choices else f"must be one of {listed}.{did_you_mean(text, choices)}"


_KIND: Final = _one_of(get_args(Kind))
_TASK: Final = _one_of(get_args(Task))
_FORMAT: Final = _one_of(get_args(Format))
_REPO_TYPE: Final = _one_of(get_args(RepoType))
_MODELSCOPE_TYPE: Final = _one_of(get_args(ModelScopeType))


def _why_bad_repo(repo: str) -> str:
    good = re.fullmatch(_REPO, repo) and ".." not in repo
    return "" if good else "must be owner/name, as on Hugging Face"


def _why_bad_modelscope_repo(repo: str) -> str:
    good = "/" in repo and not _why_bad_repo(repo)
    return "" if good else "must be owner/name, as on ModelScope"


def _why_bad_reference(reference: str) -> str:
    """Check the text of a reference, not its grammar: that is left to the command that uses it.

    So a manifest whose reference a newer version wrote can still be used, while the text is safe to show.
    """
    if not reference:
        return "is empty"
    if len(reference) > URL_CHARACTERS:
        return f"is longer than {URL_CHARACTERS} characters"
    if reference != visible(reference):
        return "contains control or invisible characters"
    if reference.startswith(("http:", "https:")):
        return why_bad_url(reference)
    if is_object_url(reference):
        return why_bad_object_url(reference)
    if "://" in reference:
        return "must be a reference such as hf:owner/name, or start with https:// or http://"
    if re.match(_CREDENTIALS, reference):
        return "contains a user name or password; credentials never belong in a reference"
    return ""


def _why_bad_words(text: str) -> str:
    if len(text) > WORDS_LIMIT:
        return f"is longer than {WORDS_LIMIT} characters"
    return "" if text == visible(text) else "contains control or invisible characters"


def _why_bad_cid(cid: str) -> str:
    return "" if re.fullmatch(_CID, cid) else "is not a CID"
