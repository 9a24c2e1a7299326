"""The version of a build is that of the git tag, wherever the files come from."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelfetch.version import __version__

ROOT = Path(__file__).parents[1]
HASH = "g23d5103"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of ``hatch_build.py``, without hatchling."""
    stub = ModuleType("hatchling.builders.hooks.plugin.interface")
    stub.__dict__["BuildHookInterface"] = object
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    return runpy.run_path(str(ROOT / "hatch_build.py"))


@pytest.fixture
def version(hook: dict[str, Any], tmp_path: Path) -> Callable[[], str]:
    """Returns the version of a build from ``tmp_path``, which has a package of version 0.1.0."""
    (tmp_path / "modelfetch").mkdir()
    (tmp_path / "modelfetch/version.py").write_text('"""Doc.\n\nMore.\n"""\n\nif x:\n    _number = "0.1.0"\n')

    def found() -> str:
        number = hook["version"](tmp_path)
        assert isinstance(number, str)
        return number

    return found


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ("v1.2.3", "1.2.3"),
        (f"v1.2.3-5-{HASH}", "1.2.4.dev5"),
        (f"v1.9-1-{HASH}", "1.10.dev1"),
        ("v2.0.0rc1", "2.0.0rc1"),
        (f"v2.0.0rc1-12-{HASH}", "2.0.0rc2.dev12"),
        ("", "0.1.0"),
        ("$Format:%(describe:tags=true)$", "0.1.0"),
        ("%(describe:tags=true)", "0.1.0"),
    ],
)
def test_an_archive_of_git_has_it_in_a_file(
    version: Callable[[], str], tmp_path: Path, described: str, expected: str
) -> None:
    (tmp_path / ".git_archival.txt").write_text(f"{described}\n")
    assert version() == expected


def test_an_sdist_has_it_in_its_metadata(version: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.4\nVersion: 4.5.6\n\nVersion: 9\n")
    (tmp_path / ".git_archival.txt").write_text("v1.2.3\n")
    assert version() == "4.5.6"


@pytest.mark.parametrize("tag", ["v3-final", "v1.2.3+local", "v1.2.3-5", "v1.2.3\nv1.2.4"])
def test_a_tag_that_is_no_version_is_an_error(version: Callable[[], str], tmp_path: Path, tag: str) -> None:
    (tmp_path / ".git_archival.txt").write_text(tag)
    with pytest.raises(ValueError, match="not a version such as v1"):
        version()


def test_the_module_of_a_build_is_a_constant(hook: dict[str, Any]) -> None:
    text = hook["module"]("1.2.3")
    names: dict[str, object] = {}
    exec(text, names)
    assert names["__version__"] == "1.2.3"
    assert "import" not in text.split('"""')[2]
    assert hook["module"]("1.2.3") == text


def test_this_checkout_has_a_version(hook: dict[str, Any]) -> None:
    assert hook["_of_module"](ROOT)
    assert __version__


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_asks_git_about_itself_only(
    version: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def git(*arguments: str, cwd: Path = tmp_path) -> None:
        identity = ("-c", "user.name=x", "-c", "user.email=x@x.example")
        subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True)

    def commit(cwd: Path = tmp_path) -> None:
        git("commit", "--allow-empty", "--message", "x", cwd=cwd)

    git("init")
    assert version() == "0.1.0"  # no commit
    commit()
    assert version() == "0.1.0"  # no tag
    git("tag", "demo")
    git("tag", "v1.2.3")
    assert version() == "1.2.3"
    (tmp_path / "modelfetch/scrap.py").touch()
    assert version() == "1.2.3"
    commit()
    assert version() == "1.2.4.dev1"
    git("tag", "--annotate", "v1.3.0", "--message", "x")
    assert version() == "1.3.0"

    other = tmp_path.parent / "other"
    other.mkdir()
    git("init", cwd=other)
    commit(other)
    git("tag", "v9.9.9", cwd=other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert version() == "1.3.0"
    monkeypatch.delenv("GIT_DIR")
    if sys.platform != "win32" and os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
        os.chown(tmp_path / ".git", 65534, 65534)
        assert version() == "1.3.0"  # git itself refuses a checkout of another user
    shutil.rmtree(tmp_path / ".git")
    git("init", cwd=tmp_path.parent)
    try:
        commit(tmp_path.parent)
        git("tag", "v9.9.9", cwd=tmp_path.parent)
        assert version() == "0.1.0"
    finally:
        shutil.rmtree(tmp_path.parent / ".git")
