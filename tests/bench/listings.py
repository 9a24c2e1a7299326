"""The same files told to each peer in the form it wants: a catalog, a list of URLs, a file of sums."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tests.bench.material import File, Material
from tests.bench.site import Address

CATALOG, CURL, URLS, PATHS, SUMS, JSON = "catalog", "curl", "urls", "paths", "sums", "files.json"
ARIA2, ARIA2_SUMS = "aria2", "aria2-sums"
"""Names of the files that `write` writes."""

VERSION = "1"
"""Version of every model."""


def model(material: Material) -> str:
    """Name of the model that stands for a material."""
    return f"bench-{material.name}"


def write(directory: Path, material: Material, address: Address) -> Path:
    """Write every listing of one material at one address."""
    catalog = directory / CATALOG
    catalog.mkdir(parents=True, exist_ok=True)
    (catalog / f"{model(material)}.toml").write_text(_manifest(material, address), "utf-8")
    texts = {
        CURL: _lines(f'url = "{_url(address, file)}"\noutput = "{file.path}"' for file in material.files),
        URLS: _lines(_url(address, file) for file in material.files),
        PATHS: _lines(file.path for file in _largest_first(material)),
        SUMS: _lines(f"{file.sha256}  {file.path}" for file in _largest_first(material)),
        ARIA2: _lines(f"{_url(address, file)}\n out={file.path}" for file in material.files),
        ARIA2_SUMS: _lines(_aria2(address, file) for file in material.files),
        JSON: json.dumps([_entry(address, file) for file in material.files]),
    }
    for name, text in texts.items():
        (directory / name).write_text(text, "utf-8")
    return directory


def write_scripts(directory: Path, python: str) -> None:
    """Write what pip would install as the command, as it does now and as it did until 2024."""
    for name, text in (("script.py", _SCRIPT), ("old-script.py", _OLD_SCRIPT)):
        (directory / name).write_text(f"#!{python}\n{text}", "utf-8")


_SCRIPT = """import sys
from modelfetch.__main__ import main
if __name__ == '__main__':
    if sys.argv[0].endswith('.exe'):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit(main())
"""
_OLD_SCRIPT = """import re
import sys
from modelfetch.__main__ import main
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
"""


def _largest_first(material: Material) -> list[File]:
    """The order in which two processes share work best; the peers get it, too."""
    return sorted(material.files, key=lambda file: -file.size)


def _manifest(material: Material, address: Address) -> str:
    head = f'schema = 1\nname = "{model(material)}"\nversion = "{VERSION}"\nlicense = "MIT"'
    mirrors = f'\n[mirrors]\nurls = ["{address.files}/{{path}}"]'
    return _lines([head, mirrors, *(_pin(file) for file in material.files)])


def _pin(file: File) -> str:
    return f'\n[[files]]\npath = "{file.path}"\nsize = {file.size}\nsha256 = "{file.sha256}"'


def _aria2(address: Address, file: File) -> str:
    return f"{_url(address, file)}\n out={file.path}\n checksum=sha-256={file.sha256}"


def _entry(address: Address, file: File) -> dict[str, str]:
    return {"url": _url(address, file), "path": file.path, "sha256": file.sha256}


def _url(address: Address, file: File) -> str:
    return f"{address.files}/{file.path}"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
