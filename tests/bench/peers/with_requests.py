"""Fetch a list of files with requests, eight at a time: ``with_requests.py LIST DIRECTORY``.

The loop everybody writes, at its best: one session per thread, pieces of 1 MiB, hashed as they come.
"""

import hashlib
import importlib
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

requests = importlib.import_module("requests")

THREADS = 8
PIECE = 1 << 20
_own = threading.local()


def main(listing: str, directory: str) -> None:
    """Fetch every file and compare its SHA-256."""
    files = json.loads(Path(listing).read_text("utf-8"))
    with ThreadPoolExecutor(min(THREADS, len(files))) as pool:
        list(pool.map(lambda file: fetch(file, Path(directory) / file["path"]), files))


def fetch(file: dict[str, Any], target: Path) -> None:
    """Fetch one file."""
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with _own.session.get(file["url"], stream=True) as response, target.open("wb") as out:
        response.raise_for_status()
        for piece in response.iter_content(PIECE):
            digest.update(piece)
            out.write(piece)
    if digest.hexdigest() != file["sha256"]:
        raise SystemExit(f"{target}: wrong bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
