"""Changing the user's file: checked first, replaced in one step, everything else kept."""

from __future__ import annotations

import os
import threading
import tomllib
from pathlib import Path

import pytest

from modelfetch.errors import ConfigError
from modelfetch.settings import SETTINGS, Setting, load, shown
from modelfetch.settings.edit import set_value, unset_value

posix = pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX systems")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "directory" / "config.toml"


def tables(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_written_read_and_taken_out_again(
    setting: Setting, path: Path, tmp_path: Path
) -> None:
    set_value(path, setting.name, shown(setting.default))
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path)}
    loaded = load(flags={}, environ=environ, cwd=tmp_path, config_file=path)
    assert loaded.settings.value(setting.name) == setting.default
    assert loaded.origins[setting.name] == f"user config {path}"
    assert unset_value(path, setting.name) is True
    assert tables(path) == {}
    assert unset_value(path, setting.name) is False


@pytest.mark.parametrize(
    ("key", "text", "plain"),
    [
        ("network.files", " 8 ", 8),
        ("retry.base", "0.25", 0.25),
        ("cache.fsync", "no", False),
        ("cache.warn_size", "20 GiB", "20 GiB"),
        ("cache.warn_size", "500", 500),
        ("network.limit_rate", "none", "none"),
        ("sources.order", "local, url", ["local", "url"]),
        ("sources.mirrors", "none", []),
        ("huggingface.endpoint", "https://hf.example", "https://hf.example"),
    ],
)
def test_values_are_written_in_the_type_toml_has_for_them(
    key: str, text: str, plain: object, path: Path
) -> None:
    set_value(path, key, text)
    section, name = key.split(".")
    written = tables(path)[section]
    assert written == {name: plain}


def test_other_values_are_kept_and_so_is_their_order(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(
        '[retry]\ncap = 9\n[network]\nfiles = 2\nconnections = 3\n["of a later version"]\nx = 2026-01-01\n'
    )
    before = tables(path)
    set_value(path, "network.files", "7")
    assert tables(path) == before | {"network": {"files": 7, "connections": 3}}
    assert list(tables(path)) == list(before)
    assert unset_value(path, "network.files") is True
    assert tables(path) == before | {"network": {"connections": 3}}


def test_comments_and_the_form_of_the_file_are_kept(path: Path) -> None:
    path.parent.mkdir(parents=True)
    written = "# mine\n\n[network]  # slow\nfiles = 2   # not more\n\n# soon\n[retry]\ncap = 9\n"
    path.write_text(written)
    set_value(path, "network.files", "7")
    assert path.read_text() == written.replace("files = 2", "files = 7")
    set_value(path, "network.files", "2")
    set_value(path, "retry.attempts", "3")
    assert unset_value(path, "retry.attempts") is True
    assert path.read_text() == written


def test_dotted_keys_and_tables_in_parts_are_edited(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("network.files = 2\nnetwork.connections = 3\n[retry]\ncap = 9\n")
    set_value(path, "network.files", "7")
    set_value(path, "network.connect_timeout", "5")
    expected = {"files": 7, "connections": 3, "connect_timeout": 5}
    assert tables(path) == {"network": expected, "retry": {"cap": 9}}


def test_a_wrong_value_in_the_file_can_be_corrected(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text('[network]\nfiles = "many"\n')
    set_value(path, "network.files", "4")
    assert tables(path) == {"network": {"files": 4}}


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("network.files", "many", "network.files: expected a whole number from 1 to 64, not 'many'"),
        ("sources.order", "hf", "sources.order: expected a list of one or more of"),
        ("network.flies", "4", "unknown key 'network.flies'. Did you mean 'files'?"),
        ("files", "4", "unknown key 'files'. It belongs under [network]."),
        ("", "4", "unknown key ''"),
        ("cache_dir", "/x", "cache_dir cannot be set in a file"),
        (
            "sources.mirrors",
            "https://me:hunter2@a.example",
            "'https://***@a.example' needs {path} or {sha256}",
        ),
    ],
)
def test_wrong_keys_and_values_change_nothing(key: str, text: str, message: str, path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        set_value(path, key, text)
    assert message in caught.value.message
    assert caught.value.hint
    assert not path.parent.exists()


@pytest.mark.parametrize("content", ["[network\n", "network = 4\n", "a = \x00\n"])
def test_a_file_that_is_not_understood_is_refused_not_overwritten(content: str, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    for change in (lambda: set_value(path, "network.files", "4"), lambda: unset_value(path, "network.files")):
        with pytest.raises(ConfigError, match=r"config\.toml") as caught:
            change()
        assert "nothing was changed" in caught.value.hint
    assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


@posix
def test_a_new_file_is_the_owners_alone(path: Path) -> None:
    set_value(path, "network.files", "4")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@posix
def test_a_file_keeps_its_mode_and_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("")
    real.chmod(0o640)
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    set_value(path, "network.files", "4")
    assert path.is_symlink()
    assert tables(real) == {"network": {"files": 4}}
    assert real.stat().st_mode & 0o777 == 0o640


@posix
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """As root, replacing ``/dev/null`` by a file would break the system; a pipe stands for it here."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"",))
    writer.start()
    with pytest.raises(ConfigError, match="not a regular file"):
        set_value(pipe, "network.files", "4")
    writer.join()
    assert pipe.is_fifo()


def test_a_directory_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        set_value(tmp_path / "file" / "config.toml", "network.files", "4")


def test_nothing_is_left_behind_when_replacing_fails(tmp_path: Path) -> None:
    """A name too long for the file beside it fails before anything was changed."""
    path = tmp_path / ("c" * 250)
    path.write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        set_value(path, "network.files", "4")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
