"""Edits of a project's file keep everything that a person wrote."""

from __future__ import annotations

import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelfetch.errors import ConfigError
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


def test_names_that_are_added_at_once_are_all_kept(path: Path) -> None:
    path.write_text(WRITTEN)
    names = [f"model-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: add_to_project(path, name), names))
    assert set(names) <= set(tomllib.loads(path.read_text())["models"])


def test_a_link_out_of_the_project_is_not_edited(tmp_path: Path) -> None:
    own = tmp_path / "config.toml"
    own.write_text("[network]\nfiles = 2\n")
    path = tmp_path / "clone" / "modelfetch.toml"
    path.parent.mkdir()
    path.symlink_to(own)
    with pytest.raises(ConfigError, match="link out of the project"):
        add_to_project(path, "mine", "models")
    assert own.read_text() == "[network]\nfiles = 2\n"
    path.unlink()
    path.symlink_to("real.toml")  # inside, it may be one
    (path.parent / "real.toml").write_text("")
    assert add_to_project(path, "mine") is True
    assert path.is_symlink()
