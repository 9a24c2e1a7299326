"""Takes the version of a build from the git tag, and writes it into the package. Only hatchling runs this.

The version comes from the first of these that has it:

1. ``PKG-INFO``, in an unpacked sdist;
2. the latest tag ``v1.2.3`` of this checkout: on its commit it is 1.2.3, five commits later 1.2.4.dev5;
3. the same, as ``git archive`` wrote it into ``.git_archival.txt``: the archives that code hosts offer;
4. the version in ``modelfetch/version.py``, for a checkout without tags.

Changes without a commit have no influence: two builds of the same files have the same version.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
MODULE = "modelfetch/version.py"
EDITABLE = "modelfetch/_version.py"
"""What an editable install writes; ``modelfetch/version.py`` in the checkout prefers it."""

_TAG = re.compile(r"v(\d+(?:\.\d+)+(?:(?:a|b|rc)\d+)?)(?:-(\d+)-g[0-9a-f]+)?")
"""What ``git describe`` prints: a tag, and unless it is exact the commits since and the present commit."""
_CONSTANT = re.compile(r'^\s*\w+ = "(.+)"$', re.MULTILINE)


def version(root: Path = ROOT) -> str:
    """Return the version of a build from a directory.

    Raises:
        ValueError: The tag is not a version.
    """
    return _of_sdist(root) or _of_tag(_described(root)) or _of_tag(_archived(root)) or _of_module(root)


def module(number: str, root: Path = ROOT) -> str:
    """Return the text of ``modelfetch/version.py`` in a build: the constant alone, nothing to look for."""
    text = (root / MODULE).read_text("utf-8")
    docstring = text[: text.index('"""', 3) + 3]
    return f'{docstring}\n\n__version__ = "{number}"\n'


def _of_sdist(root: Path) -> str:
    try:
        return HeaderParser().parsestr((root / "PKG-INFO").read_text("utf-8"))["Version"] or ""
    except FileNotFoundError:
        return ""


def _described(root: Path) -> str:
    # The .git of this directory only: an unpacked archive may lie in the repository of something else, and in
    # a hook of git the environment names another one. A worktree has a file of this name.
    if not (root / ".git").exists():
        return ""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # A container often builds a checkout of another user, which git refuses: without the version, silently.
    command = ["git", "-c", f"safe.directory={root}", "describe", "--tags", "--match", "v[0-9]*"]
    try:
        ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return ""
    return ran.stdout.strip()  # empty without a tag


def _archived(root: Path) -> str:
    try:
        text = (root / ".git_archival.txt").read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    return "" if "$" in text or "%" in text else text  # not replaced: a checkout, or git before 2.32


def _of_tag(described: str) -> str:
    if not described:
        return ""
    found = _TAG.fullmatch(described)
    if found is None:
        raise ValueError(f"the git tag {described!r} is not a version such as v1.2.3")
    if found[2] is None:
        return found[1]
    # After 1.2.3 and before 1.2.4, in the order of versions (PEP 440).
    return re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), found[1]) + f".dev{found[2]}"


def _of_module(root: Path) -> str:
    found = _CONSTANT.search((root / MODULE).read_text("utf-8"))
    if found is None:
        raise ValueError(f"{MODULE} has no version")
    return found[1]


class VersionHook(BuildHookInterface):
    """Puts a module with the constant into wheels and sdists; the one in the checkout is not changed."""

    PLUGIN_NAME = "custom"
    _made: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the module to a build; ``version`` is hatchling's word for its kind."""
        text = module(self.metadata.version, Path(self.root))
        if version == "editable":
            (Path(self.root) / EDITABLE).write_text(text, "utf-8")
            return
        self._made = Path(tempfile.mkdtemp(prefix="modelfetch-version-"))
        made = self._made / "version.py"
        made.write_text(text, "utf-8")
        made.chmod(0o644)
        build_data["force_include"][str(made)] = MODULE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was made."""
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
