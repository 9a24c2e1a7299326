"""Programs of others that compute the CIDs of files and read and write CAR files.

====================  ==================  ==========================  =================================
tool                  from                profiles                    found by
====================  ==================  ==========================  =================================
ipfs-unixfs-importer  npm                 both                        variable IPFS_MODULES
ipfs-car              npm                 unixfs-v1-2025              variable IPFS_MODULES
ipfs_cid              Debian, ipfs-cid    unixfs-v0-2015              PATH
aleph-cid             PyPI                unixfs-v0-2015, and ours    this environment
====================  ==================  ==========================  =================================

The variable names the directory ``node_modules`` into which both were installed. aleph-cid also makes CIDs as
kubo does with ``--cid-version=1``: :data:`KUBO_V1`, which is no profile of IPIP-499.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025, DirectoryMeasure, Profile

KUBO_V1: Final = Profile("kubo-cid-version-1", 1, True, 262_144, 174, DirectoryMeasure.LINKS)

NODE: Final = shutil.which("node")
IPFS_CID: Final = shutil.which("ipfs_cid")
MODULES: Final = Path(os.environ.get("IPFS_MODULES") or "/nonexistent")
_TIMEOUT: Final = 600

# Blocks are not kept: only the CID of the root is asked for.
_IMPORT = """
import { createReadStream, readFileSync } from "node:fs";
import { importer } from "ipfs-unixfs-importer";
const { profile, entries } = JSON.parse(readFileSync(0, "utf8"));
const nowhere = { put: async (cid) => cid };
const roots = [];
for (const files of entries) {
  const source = files.map(({ path, name }) => ({ path: name, content: createReadStream(path) }));
  const options = { profile, wrapWithDirectory: source[0].path !== "" };
  let root;
  for await (const entry of importer(source, nowhere, options)) root = entry.cid.toString();
  roots.push(root);
}
console.log(JSON.stringify(roots));
"""


class Tool(NamedTuple):
    """A program that computes CIDs of files."""

    name: str
    is_here: bool
    profile: Profile
    roots: Callable[[Sequence[Path]], list[str]]
    """Computes the CID of each file."""


def has_module(name: str) -> bool:
    return NODE is not None and (MODULES / name / "package.json").is_file()


def import_with_npm(profile: Profile, entries: Sequence[Sequence[tuple[Path, str]]]) -> list[str]:
    """Compute CIDs with ipfs-unixfs-importer, in one process.

    Args:
        profile: One of IPIP-499.
        entries: For each CID one file with an empty name, or the files of a directory with their paths.
    """
    assert NODE is not None
    groups = [[{"path": str(path), "name": name} for path, name in group] for group in entries]
    return json.loads(  # type: ignore[no-any-return]
        _run(
            [NODE, "--input-type=module", "--eval", _IMPORT],
            json.dumps({"profile": profile.name, "entries": groups}).encode(),
            MODULES.parent,  # where modules are looked for
        )
    )


def ipfs_car(*arguments: str | Path, given: bytes = b"") -> str:
    """Run the command ``ipfs-car``; returns what it prints."""
    assert NODE is not None
    return _run([NODE, str(MODULES / "ipfs-car/bin.js"), *map(str, arguments)], given).decode()


def _run(command: Sequence[str], given: bytes = b"", cwd: Path | None = None) -> bytes:
    return subprocess.run(
        command, input=given, cwd=cwd, capture_output=True, check=True, timeout=_TIMEOUT
    ).stdout


def _npm_roots(profile: Profile) -> Callable[[Sequence[Path]], list[str]]:
    return lambda paths: import_with_npm(profile, [[(path, "")] for path in paths])


def _ipfs_car_roots(paths: Sequence[Path]) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:  # it seeks in its output, to write the root
        written = Path(directory, "packed.car")
        return [ipfs_car("pack", "--no-wrap", path, "--output", written).split()[-1] for path in paths]


def _debian_roots(paths: Sequence[Path]) -> list[str]:
    assert IPFS_CID is not None
    return [json.loads(_run([IPFS_CID, str(path)]))["CIDv0"] for path in paths]


def _aleph_roots(flavor: str) -> Callable[[Sequence[Path]], list[str]]:
    def roots(paths: Sequence[Path]) -> list[str]:
        hashers = importlib.import_module("aleph_cid").CidHasher
        found = []
        for path in paths:
            hasher = getattr(hashers, flavor)()
            with path.open("rb") as file:
                while piece := file.read(1_000_000):  # not a multiple of a chunk
                    hasher.update(piece)
            found.append(hasher.finalize())
        return found

    return roots


_HAS_ALEPH: Final = importlib.util.find_spec("aleph_cid") is not None

TOOLS: Final = (
    *(
        Tool(
            f"ipfs-unixfs-importer {profile.name}",
            has_module("ipfs-unixfs-importer"),
            profile,
            _npm_roots(profile),
        )
        for profile in (UNIXFS_V1_2025, UNIXFS_V0_2015)
    ),
    Tool("ipfs-car", has_module("ipfs-car"), UNIXFS_V1_2025, _ipfs_car_roots),
    Tool("ipfs_cid", IPFS_CID is not None, UNIXFS_V0_2015, _debian_roots),
    Tool("aleph-cid v0", _HAS_ALEPH, UNIXFS_V0_2015, _aleph_roots("for_ipfs")),
    Tool("aleph-cid v1", _HAS_ALEPH, KUBO_V1, _aleph_roots("for_ipfs_v1_raw_leaves")),
)
