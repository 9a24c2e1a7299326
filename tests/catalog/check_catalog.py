"""Check that the built-in catalog agrees with itself; change nothing.

    python tests/catalog/check_catalog.py [DIRECTORY]

Prints a line per fault and exits 1, or one line of summary and exits 0. Without a directory the catalog of
the installed package is checked. Each manifest is held to the manifest format by the parser itself; what is
checked here goes beyond one manifest, or beyond what a user's manifest must keep.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from modelfetch.catalog.builtin import BUILTIN
from modelfetch.catalog.lookup import Index, read_index
from modelfetch.errors import ManifestError
from modelfetch.ipfs.cid import Cid, raw_sha256
from modelfetch.model.manifest import FileSpec, Manifest, is_permissive
from modelfetch.model.parse import load_manifest
from modelfetch.model.units import format_size

EMBEDDED = frozenset({"demo"})
"""Models whose files are embedded in modelfetch, so that their manifests list no source."""

COMMIT_HOSTS = ("raw.githubusercontent.com", "media.githubusercontent.com")
COMMIT = re.compile(r"/[0-9a-f]{40}/")
DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
BRANCH = re.compile(r"/(?:resolve|raw)/(?:main|master)/")


def main(arguments: list[str]) -> int:
    """Check one directory, print what was found, and give the exit code."""
    directory = Path(arguments[0]) if arguments else BUILTIN
    manifests: list[Manifest] = []
    faults = [*load(directory, manifests), *check(manifests, read_index(directory))]
    for fault in faults:
        print(fault)
    if not faults:
        print(summary(manifests))
    return 1 if faults else 0


def load(directory: Path, manifests: list[Manifest]) -> Iterator[str]:
    """Read every manifest into the list; yield what the parser finds wrong."""
    for path in sorted(directory.glob("[!_]*.toml")):
        try:
            manifests.append(load_manifest(path))
        except ManifestError as error:
            yield from (f"{path.name}: {fault}" for fault in error.faults)


def check(manifests: list[Manifest], index: Index) -> Iterator[str]:
    """Yield every fault of a catalog whose manifests are each well formed."""
    for manifest in manifests:
        clauses = [*check_facts(manifest)]
        for file in manifest.files:
            clauses += (f"{file.path}: {clause}" for clause in check_file(manifest, file))
        yield from (f"{manifest.name}.toml: {clause}" for clause in clauses)
    yield from check_sizes(manifests)
    yield from check_titles(manifests)
    yield from check_index({manifest.name: manifest for manifest in manifests}, index)


def check_facts(manifest: Manifest) -> Iterator[str]:
    """Facts every built-in model states, and a version that follows from its content."""
    is_embedded = manifest.name in EMBEDDED
    for key in ("title", "license", "homepage", "task", "format"):
        if not getattr(manifest, key) and not (key == "homepage" and is_embedded):
            yield f"{key}: missing"
    pin = manifest.huggingface.revision if manifest.huggingface else manifest.identity
    if manifest.version != pin[:12] and not is_embedded:
        yield f"version: must be {pin[:12]}, from the revision or else from the identity"


def check_file(manifest: Manifest, file: FileSpec) -> Iterator[str]:
    """One file: not empty, to be had somewhere, addresses that stay, a CID that means its digest."""
    if file.size == 0:
        yield "size: must be positive"
    sources = (manifest.huggingface, manifest.ipfs_cid, manifest.mirrors, file.cid, file.urls)
    if not any(sources) and manifest.name not in EMBEDDED:
        yield "has no source"
    if file.cid:
        yield from check_cid(file.cid, file.sha256)
    for url in file.urls:
        yield from (f"{url}: {clause}" for clause in check_url(url, file.sha256))
    if any(BRANCH.search(first) and not BRANCH.search(second) for first, second in pairwise(file.urls)):
        yield "urls: an address on a branch stands before a pinned one"


def check_cid(text: str, sha256: str) -> Iterator[str]:
    """The CID of a file is always a raw one, which has the same digest as its sha256."""
    try:
        cid = Cid.parse(text)
    except ValueError as error:
        yield f"cid: {error}"
        return
    if raw_sha256(cid) != sha256:
        yield "cid: is not the raw CID of the file's sha256"


def check_url(url: str, sha256: str) -> Iterator[str]:
    """Addresses are encrypted, public and unsigned, and pinned by a commit or the right digest."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        yield "is not https"
    if parts.query:
        yield "has a query"
    if parts.hostname in COMMIT_HOSTS and not COMMIT.search(parts.path):
        yield "has no full commit in its path"
    if any(digest != sha256 for digest in DIGEST.findall(url)):
        yield "contains another digest than the file's"


def check_sizes(manifests: Iterable[Manifest]) -> Iterator[str]:
    """Equal digests have equal sizes in the whole catalog."""
    sizes: dict[str, tuple[int, str]] = {}
    for manifest in manifests:
        for file in manifest.files:
            size, first = sizes.setdefault(file.sha256, (file.size, f"{manifest.name}: {file.path}"))
            if size != file.size:
                yield f"{manifest.name}.toml: {file.path}: size differs from that of {first}, same sha256"


def check_titles(manifests: Iterable[Manifest]) -> Iterator[str]:
    """No two models have the same title: it says what a model has that its relatives have not."""
    names: dict[str, str] = {}
    for manifest in manifests:
        first = names.setdefault(manifest.title.casefold(), manifest.name)
        if first != manifest.name and manifest.title:
            yield f"{manifest.name}.toml: title: is also that of {first}"


def check_index(models: dict[str, Manifest], index: Index) -> Iterator[str]:
    """Aliases lead to models and hide none; exactly the licenses that need a notice have one."""
    for alias, name in index.aliases.items():
        if alias in models:
            yield f"_index.toml: alias {alias} is the name of a model"
        if name not in models:
            yield f"_index.toml: alias {alias} stands for {name}, which is no model"
    wanted = {name for name, manifest in models.items() if not is_permissive(manifest.license)}
    for name in sorted(wanted ^ index.license_notices.keys()):
        clause = "needs a license notice" if name in wanted else "needs no license notice"
        yield f"_index.toml: {name} {clause}"


def summary(manifests: list[Manifest]) -> str:
    """Say in one line what the catalog holds."""
    files = [file for manifest in manifests for file in manifest.files]
    distinct = {file.sha256: file.size for file in files}
    size = format_size(sum(distinct.values()))
    return f"{len(manifests)} models, {len(files)} files, {len(distinct)} distinct, {size}: no fault"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
