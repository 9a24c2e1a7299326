"""Agreement with other IPFS tools over random files of up to 300 MB.

``python -m tests.campaign ipfs_agreement [--seed TEXT] [--count N] [--largest BYTES]`` takes files of every
size at which a tree changes its form, and random ones. For each it compares the CIDs of all tools that are
installed with ours; lets ``ipfs-car`` unpack a CAR file of ours and a trustless answer, under both profiles;
and reads a CAR file of ``ipfs-car``. It prints a line per file and ends with 1 when anything differs. Tools
that are absent are named and left out: see ``tests/ipfs/other_tools.py``.
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025
from tests.ipfs.other_tools import TOOLS, has_module, ipfs_car
from tests.ipfs.random_files import (
    LARGE_SIZES,
    SMALL_SIZES,
    OnDisk,
    build,
    is_proven,
    random_sizes,
    write_files,
)

ANSWER = "format=car&dag-scope=entity&car-dups=y"


def comparisons(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the name and the result of each comparison of one file."""
    for tool in TOOLS:
        if tool.is_here:
            yield tool.name, tool.roots([path]) == [build(path, tool.profile).root.text]
    if not has_module("ipfs-car"):
        return
    for profile in (UNIXFS_V1_2025, UNIXFS_V0_2015):
        ours = OnDisk(path, profile)
        yield f"unpacks a CAR file of {profile.name}", _is_unpacked(path, ours.car())
        yield f"unpacks an answer of {profile.name}", _is_unpacked(path, ours.answer(ANSWER))
    yield "a CAR file of ipfs-car is read", _is_read(path)


def _is_unpacked(path: Path, pieces: Iterable[bytes]) -> bool:
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        written, unpacked = Path(directory, "ours.car"), Path(directory, "unpacked")
        with written.open("wb") as file:
            file.writelines(pieces)
        try:
            ipfs_car("unpack", written, "--output", unpacked)
        except subprocess.CalledProcessError as error:
            print(error.stderr.decode(errors="replace")[-2000:])
            return False
        return filecmp.cmp(path, unpacked, shallow=False)


def _is_read(path: Path) -> bool:
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        written = Path(directory, "theirs.car")
        root = Cid.parse(ipfs_car("pack", "--no-wrap", path, "--output", written).split()[-1])
        reader = CarReader()
        blocks: dict[bytes, bytes] = {}
        with written.open("rb") as file:
            while piece := file.read(1 << 20):
                blocks |= {cid.multihash: block for cid, block in reader.feed(piece)}
        reader.finish()
    return is_proven(path, root, blocks)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign ipfs_agreement")
    parser.add_argument("--seed", default="1", help="of the random sizes")
    parser.add_argument("--count", type=int, default=30, help="files of random sizes")
    parser.add_argument("--largest", type=int, default=300_000_000, help="leave out files of more bytes")
    options = parser.parse_args()
    absent = [tool.name for tool in TOOLS if not tool.is_here]
    print(f"absent: {', '.join(absent) or 'none'}")
    sizes = [*SMALL_SIZES, *LARGE_SIZES, *random_sizes(options.seed, options.count, options.largest)]
    start, done, wrong = time.monotonic(), Counter[str](), 0
    sizes = [size for size in sizes if size <= options.largest]
    with tempfile.TemporaryDirectory() as directory:
        for path in write_files(Path(directory), sizes):
            results = dict(comparisons(path))
            done.update(results)
            differing = [name for name, is_right in results.items() if not is_right]
            wrong += len(differing)
            report = (
                f"DIFFER: {', '.join(differing)}" if differing else f"{len(results)} of {len(results)} agree"
            )
            print(f"{path.stat().st_size:,} bytes: {report}", flush=True)
            path.unlink()
    for name, count in done.items():
        print(f"{name}: {count} files")
    total = f"{len(sizes)} files of {sum(sizes):,} bytes, {done.total()} comparisons"
    print(f"ipfs_agreement: {total}, {wrong} differ, {time.monotonic() - start:.0f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
