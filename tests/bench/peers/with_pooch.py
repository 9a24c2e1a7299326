"""Fetch a list of files with pooch, one after another: ``with_pooch.py LIST DIRECTORY``."""

import importlib
import json
import sys
from pathlib import Path

pooch = importlib.import_module("pooch")


def main(listing: str, directory: str) -> None:
    """Fetch every file; pooch compares the SHA-256 after the download."""
    pooch.get_logger().setLevel("WARNING")
    for file in json.loads(Path(listing).read_text("utf-8")):
        target = Path(directory) / file["path"]
        pooch.retrieve(
            file["url"], known_hash=f"sha256:{file['sha256']}", fname=target.name, path=target.parent
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
