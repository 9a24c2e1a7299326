"""Profiles: the parameters that decide which CID the same bytes get (IPIP-499).

A CID is the hash of a tree, and the tree depends on how the bytes are cut and grouped. Two CIDs can therefore
be compared only if both were made under the same profile: otherwise equal bytes can have different CIDs.

====================  ==============  =====================
parameter             unixfs-v1-2025  unixfs-v0-2015
====================  ==============  =====================
CIDs                  version 1       version 0
leaves                raw blocks      wrapped in dag-pb
bytes of a leaf       1,048,576       262,144
children of a node    1,024           174
directory is sharded  if its block    if its names and CIDs
above 262,144 bytes   has more        have more
====================  ==============  =====================

Helia and ipfs-car produce the first for files, kubo the second unless it is configured otherwise.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from modelfetch.lazy_dataclass import dataclass


class DirectoryMeasure(StrEnum):
    """What of a directory is compared with :attr:`Profile.shard_above`."""

    BLOCK = "block"
    """Bytes of the block that a directory of one block would have."""
    LINKS = "links"
    """Bytes of all names and binary CIDs."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How files and directories become blocks; all trees are balanced."""

    name: str
    cid_version: int
    """0 or 1."""
    raw_leaves: bool
    """Whether the leaves are raw blocks; otherwise they are UnixFS messages in dag-pb nodes."""
    chunk_size: int
    """Bytes of the file in each leaf but the last."""
    width: int
    """Largest number of children of an inner node."""
    directory_measure: DirectoryMeasure
    shard_above: int = 262_144
    """A directory whose measure, in bytes, is larger than this becomes a HAMT."""
    fanout: int = 256
    """Children of a shard of a HAMT."""


UNIXFS_V1_2025: Final = Profile("unixfs-v1-2025", 1, True, 1_048_576, 1024, DirectoryMeasure.BLOCK)
UNIXFS_V0_2015: Final = Profile("unixfs-v0-2015", 0, False, 262_144, 174, DirectoryMeasure.LINKS)

PROFILES: Final = {profile.name: profile for profile in (UNIXFS_V1_2025, UNIXFS_V0_2015)}
"""The profiles by name."""
