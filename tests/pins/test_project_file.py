"""Edits of a project's file keep everything that a person wrote."""

from __future__ import annotations

import os
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelfetch.errors import ConfigError
from modelfetch.pins import project_file
from modelfetch.pins.project_file import add_to_project, remove_from_project

WRITTEN = """\
# The models of this project.

catalog = ["models", "one.toml"]   # ours
models = [
    "whisper-base",  # for subtitles
    "silero-vad",    # finds speech
]

# Slow office network
[network]
files = 2  # not more
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "modelfetch.toml"


def test_a_name_is_added_with_comments_and_order_kept(path: Path) -> None:
    path.write_text(WRITTEN)
    assert add_to_project(path, "mine") is True
    assert path.read_text() == WRITTEN.replace("speech\n", 'speech\n    "mine",\n')
    assert add_to_project(path, "mine") is False
    assert remove_from_project(path, "mine") is True
    assert path.read_text() == WRITTEN
    assert remove_from_project(path, "mine") is False


def test_a_name_in_the_middle_is_removed_with_its_comment(path: Path) -> None:
    path.write_text(WRITTEN)
    assert remove_from_project(path, "whisper-base") is True
    assert path.read_text() == WRITTEN.replace('    "whisper-base",  # for subtitles\n', "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# ours", '# ours\ncatalog = ["models"]\nmodels = ["m"]\n'),
        ("# ours\n", '# ours\ncatalog = ["models"]\nmodels = ["m"]\n'),
        ("", 'catalog = ["models"]\nmodels = ["m"]\n'),
        (
            "# top\n\n[network]\nfiles = 2\n",
            '# top\n\ncatalog = ["models"]\nmodels = ["m"]\n[network]\nfiles = 2\n',
        ),
        ("# net\n[network]\n", 'catalog = ["models"]\nmodels = ["m"]\n# net\n[network]\n'),
        ("models = []\nx = 1", 'catalog = ["models"]\nmodels = ["m"]\nx = 1\n'),
        ('catalog = ["a"] # c\n', 'models = ["m"]\ncatalog = ["a", "models"] # c\n'),
    ],
)
def test_missing_lists_are_created_at_the_top(path: Path, before: str, after: str) -> None:
    path.write_text(before)
    assert add_to_project(path, "m", "models") is True
    assert path.read_text() == after
    tomllib.loads(after)


def test_edits_at_the_same_time_lose_no_name(path: Path) -> None:
    path.write_text("models = []\n")
    names = [f"m{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: add_to_project(path, name), names))
    assert sorted(tomllib.loads(path.read_text())["models"]) == names


@pytest.mark.skipif(sys.platform == "win32", reason="directories are not locked there")
def test_an_edit_that_hangs_is_waited_for_in_vain(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(project_file, "_LONGEST_WAIT", 0.05)
    path.write_text("models = []\n")
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert add_to_project(path, "m")
    os.close(descriptor)


def test_crlf_is_kept(path: Path) -> None:
    path.write_bytes(b'models = ["a"]\r\n[network]\r\nfiles = 2\r\n')
    add_to_project(path, "m")
    assert path.read_bytes() == b'models = ["a", "m"]\r\n[network]\r\nfiles = 2\r\n'


@pytest.mark.parametrize("content", ["models = 'x'\n", "[models]\n", "models = [\n"])
def test_a_file_that_is_not_understood_is_left_alone(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"modelfetch\.toml"):
        add_to_project(path, "m")
    assert path.read_text() == content
