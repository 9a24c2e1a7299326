"""``cid``: the CIDs of files and directories on this disk.

Uses neither the network nor the cache. stdout gets a line for each path, in the form of ``sha256sum``::

    $ modelfetch cid model.gguf
    bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64  model.gguf
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfetch.cli import options
from modelfetch.cli.output import print_json, print_line, say

if TYPE_CHECKING:
    from modelfetch.publish.disk_cids import PathCid


class ProfileName(StrEnum):
    """The profiles of :data:`modelfetch.ipfs.profiles.PROFILES`, as choices of an option."""

    V1_2025 = "unixfs-v1-2025"
    V0_2015 = "unixfs-v0-2015"


Profile = Annotated[
    ProfileName,
    typer.Option("--profile", help="How files become blocks: the same bytes have another CID under each."),
]


def cid(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files or directories.", show_default=False),
    ],
    profile: Profile = ProfileName.V1_2025,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compute the IPFS CIDs of files and directories.

    A CID is a name that follows from the bytes, as a SHA-256 does. Prints a line for each path: CID, two
    spaces, path. In directories, hidden files are left out and symbolic links stay links, as with other
    tools. Uses no network.
    """
    from modelfetch.cli.pinning import ProgressLine
    from modelfetch.ipfs.profiles import PROFILES
    from modelfetch.publish.disk_cids import DiskCids
    from modelfetch.publish.tree_hashing import HashingPool

    line = ProgressLine(quiet=quiet or json)
    found: list[PathCid] = []
    try:
        with HashingPool() as pool:
            cids = DiskCids(
                PROFILES[profile], pool, lambda path, done, size: line.show("hashing", str(path), done, size)
            )
            for path in paths:
                each = cids.compute(_path(path))
                found.append(each)
                line.clear()
                if not json:  # at once: the next one may take minutes
                    print_line(f"{each.cid.text}  {path}")
    finally:
        line.clear()
    if json:
        documents = [_document(path, each) for path, each in zip(paths, found, strict=True)]
        print_json({"profile": profile.value, "paths": documents})
    elif not quiet and (links := sum(each.links for each in found)):
        what = "1 symbolic link was kept" if links == 1 else f"{links} symbolic links were kept"
        say(f"note: {what}; the CIDs do not cover the files that links lead to")


def _path(text: str) -> Path:
    """Return the path of an argument; an empty one would be the working directory."""
    from modelfetch.errors import UsageError

    if not text:
        raise UsageError("PATH is empty", hint="Give a file or a directory.")
    return Path(text)


def _document(path: str, found: PathCid) -> dict[str, Any]:
    return {
        "path": path,
        "kind": found.kind,
        "cid": found.cid.text,
        "size": found.size,
        "blocks_size": found.tsize,
    }
