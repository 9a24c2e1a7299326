"""Programs that are looked for, and never installed: on PATH, or in environments that were named."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

PROGRAMS = (
    *("modelfetch", "nginx", "curl", "openssl", "sha256sum", "aria2c", "wget2", "hf"),
    *("sh", "xargs"),
)
"""Found by name."""
LIBRARIES = ("pooch", "requests")
"""Found as the interpreter that has them."""
PYTHON = "python"
"""The interpreter modelfetch is installed for."""

_SYSTEM = "/usr/sbin:/sbin"  # where nginx is, and PATH often does not lead


def find(environments: Mapping[str, Path]) -> dict[str, str]:
    """The path of each program that is there.

    Args:
        environments: Root of a virtual environment by the name of what is taken from it.
    """
    found = {name: _program(name, environments.get(name)) for name in PROGRAMS}
    found |= {name: _interpreter(name, environments.get(name)) for name in LIBRARIES}
    if found["modelfetch"]:
        found[PYTHON] = _executable(Path(found["modelfetch"]).parent / "python")
    return {name: path for name, path in found.items() if path}


def versions(tools: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """What each tool says of its version."""
    return {name: _version(name, tools[name]) for name in names if name in tools and name != "sh"}


def _program(name: str, environment: Path | None) -> str:
    if environment is not None:
        return _executable(environment / "bin" / name)
    return shutil.which(name) or shutil.which(name, path=_SYSTEM) or ""


def _interpreter(library: str, environment: Path | None) -> str:
    if environment is not None:
        return _executable(environment / "bin" / "python")
    return sys.executable if importlib.util.find_spec(library) else ""


def _executable(path: Path) -> str:
    if not path.exists():
        raise SystemExit(f"{path}: no such program")
    return str(path.absolute())  # not resolved: a link is how an environment names its interpreter


def _version(name: str, path: str) -> str:
    if name in LIBRARIES:
        code = f"import importlib.metadata as m; print({name!r}, m.version({name!r}))"
        command = [path, "-c", code]
    else:
        command = [path, {"nginx": "-v", "openssl": "version"}.get(name, "--version")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().split("\n")[0].removeprefix(f"{name} version: ")
