"""Finding manifests by name over built-in, user's, project's and environment's catalogs."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelfetch.catalog import Catalog, CatalogEntry
from modelfetch.catalog.builtin import BUILTIN
from modelfetch.errors import ConfigError, ManifestError, UnknownModelError
from modelfetch.model.paths import why_unsafe
from modelfetch.model.text import sanitize


def write(directory: Path, name: str, title: str = "") -> Path:
    """Put a manifest into a directory."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.toml"
    head = f'schema = 1\nname = "{name}"\nversion = "1"\ntitle = "{title}"\nlicense = "AGPL-3.0"\n'
    path.write_text(head + f'[[files]]\npath = "a"\nsize = 1\nsha256 = "{"a" * 64}"\n')
    return path


def opened(
    *, user: Path | None = None, project: Sequence[Path] = (), environment: Sequence[Path] = ()
) -> Catalog:
    return Catalog.open(user=user, project=project, environment=environment)


def test_built_in_models_are_always_listed() -> None:
    catalog = opened()
    assert "whisper-base" in catalog.names()
    assert catalog.names() == sorted(catalog.names())
    assert catalog.get("whisper-base").size == 295_289_621
    assert catalog.entry("whisper-base") == CatalogEntry(
        "whisper-base", "built-in", BUILTIN / "whisper-base.toml"
    )


def test_every_built_in_manifest_can_be_read_and_its_paths_are_safe() -> None:
    catalog = opened()
    manifests = [catalog.get(name) for name in catalog.names()]
    assert len(manifests) >= 50
    assert [file.path for manifest in manifests for file in manifest.files if why_unsafe(file.path)] == []


def test_an_alias_leads_to_its_model() -> None:
    catalog = opened()
    assert catalog.aliases()["onnx-community/whisper-base"] == "whisper-base"
    assert catalog.get("onnx-community/whisper-base").name == "whisper-base"
    assert catalog.entry("pocket-tts-en-int8").name == "tts-models"
    assert "pocket-tts-en-int8" not in catalog.names()


def test_license_notices_are_only_those_of_the_built_in_catalog(tmp_path: Path) -> None:
    catalog = opened()
    assert "non-commercial" in catalog.get("tts-models").license_notice
    assert "AGPL" in catalog.get("yolov8n").license_notice
    assert catalog.get("whisper-base").license_notice == ""
    write(tmp_path, "yolov8n")
    assert opened(user=tmp_path).get("yolov8n").license_notice == ""


def test_later_catalogs_win_by_name(tmp_path: Path) -> None:
    user, project, environment = tmp_path / "u", tmp_path / "p", tmp_path / "e"
    for directory in (user, project, environment):
        write(directory, "whisper-base", title=directory.name)
    one = write(tmp_path / "f", "whisper-base", title="file")
    assert opened(user=user).get("whisper-base").title == "u"
    assert opened(user=user, project=[project]).get("whisper-base").title == "p"
    assert opened(user=user, project=[project], environment=[environment]).get("whisper-base").title == "e"
    assert opened(environment=[environment, one]).get("whisper-base").title == "file"
    assert opened(user=user, environment=[one]).entry("whisper-base").origin == "environment"


def test_an_alias_follows_a_model_that_was_replaced_and_never_hides_a_model(tmp_path: Path) -> None:
    write(tmp_path, "tts-models", title="mine")
    assert opened(user=tmp_path).get("pocket-tts-en-int8").title == "mine"
    write(tmp_path, "pocket-tts-en-int8", title="another")
    assert opened(user=tmp_path).get("pocket-tts-en-int8").title == "another"


def test_looking_one_model_up_does_not_read_the_others(tmp_path: Path) -> None:
    write(tmp_path, "good")
    (tmp_path / "bad.toml").write_text("][")
    catalog = opened(user=tmp_path)
    assert catalog.get("good").name == "good"
    with pytest.raises(ManifestError, match=r"bad\.toml: not valid TOML"):
        catalog.get("bad")


def test_files_whose_name_is_not_a_model_name_are_ignored(tmp_path: Path) -> None:
    for name in (
        "_index.toml",
        ".hidden.toml",
        "Upper.toml",
        "notes.txt",
        "x.toml~",
        "toml",
        "con.toml",
        "x.TOML",
    ):
        (tmp_path / name).write_text("")
    assert opened(environment=[tmp_path]).names() == opened().names()


def test_an_unknown_name_gets_a_guess_and_a_hint() -> None:
    with pytest.raises(
        UnknownModelError, match=r"called 'whispr-base'\. Did you mean 'whisper-base'\?"
    ) as caught:
        opened().get("whispr-base")
    assert "modelfetch list" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../whisper-base",
        "/etc/passwd",
        "a\\b",
        "Whisper-Base",
        "_index",
        "x" * 5000,
        "\x1b[31m\u202e",
    ],
)
def test_what_cannot_be_a_name_is_unknown_and_shown_safely(name: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        opened().get(name)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


def test_a_missing_user_catalog_is_fine_and_counts_as_consulted(tmp_path: Path) -> None:
    catalog = opened(user=tmp_path / "absent")
    assert catalog.names() == opened().names()
    assert catalog.consulted == (tmp_path / "absent",)


def test_what_was_consulted_are_the_catalogs_and_the_manifests_read(tmp_path: Path) -> None:
    user, project = tmp_path / "u", tmp_path / "p"
    write(user, "mine")
    write(project, "other")
    one = write(tmp_path, "one")
    catalog = opened(user=user, project=[project], environment=[one])
    before = catalog.consulted
    catalog.get("mine")
    catalog.get("one")
    catalog.get("mine")
    catalog.get("whisper-base")
    assert before == (user, project, one)
    assert catalog.consulted == (*before, user / "mine.toml", BUILTIN / "whisper-base.toml")


@pytest.mark.parametrize(
    "name", ["absent", "absent.toml", "plain.txt", "Upper.toml", "nul\x00", "nul\x00.toml"]
)
def test_a_named_catalog_that_cannot_be_used_is_a_configuration_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain.txt").write_text("")
    write(tmp_path, "Upper")
    for origin, setting in (
        ("environment", "MODELFETCH_CATALOG: "),
        ("project", "catalog in modelfetch.toml: "),
    ):
        with pytest.raises(ConfigError) as caught:
            opened(**{origin: [tmp_path / name]})  # type: ignore[arg-type]
        assert caught.value.message.startswith(setting)
        assert sanitize(name) in caught.value.message
        assert caught.value.message.isprintable()
        assert "<name>.toml" in caught.value.hint


def test_a_user_catalog_that_is_no_directory_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "catalog").write_text("")
    with pytest.raises(ConfigError, match=r"^the user's catalog: "):
        opened(user=tmp_path / "catalog")


def test_a_manifest_that_changed_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "catalog", "mine", "before")
    catalog = opened(user=tmp_path / "catalog")
    assert [catalog.get("mine").title for _ in range(2)] == ["before"] * 2
    path.write_text(path.read_text().replace("before", "afterwards"))
    assert catalog.get("mine").title == "afterwards"


# Names that a project takes over


def test_a_later_listing_reuses_what_did_not_change(tmp_path: Path) -> None:
    write(tmp_path, "same")
    write(tmp_path, "changed")
    first = opened(user=tmp_path)
    before = [first.get("same"), first.get("changed")]
    write(tmp_path, "changed", title="new and longer")
    later = opened(user=tmp_path)
    later.reuse(first)
    assert later.get("same") is before[0]
    assert later.get("changed").title == "new and longer"
    (tmp_path / "same.toml").unlink()
    last = opened(user=tmp_path)
    last.reuse(later)
    with pytest.raises(UnknownModelError):
        last.get("same")


def test_a_built_in_name_that_a_project_takes_over_is_announced_when_it_is_used(tmp_path: Path) -> None:
    own = write(tmp_path / "own", "mine")
    for name in ("whisper-base", "pocket-tts-en-int8", "mine", "new"):
        write(tmp_path / "project", name)
    catalog = opened(user=own.parent, project=[tmp_path / "project"])
    assert catalog.entry("whisper-base").replaces == "built-in"
    assert catalog.entry("pocket-tts-en-int8").replaces == "built-in"  # an alias
    assert catalog.entry("mine").replaces == "user"
    assert catalog.entry("new").replaces is None
    assert list(catalog.notices) == []
    for name in ("whisper-base", "mine", "new", "whisper-base"):
        catalog.get(name)
    first, second = catalog.notices
    assert first.startswith("whisper-base is this project's model (")
    assert str(tmp_path / "project" / "whisper-base.toml") in first
    assert "not the built-in one" in first
    assert "your own catalog" in second


def test_what_the_user_names_in_person_is_not_announced(tmp_path: Path) -> None:
    write(tmp_path / "project", "whisper-base")
    write(tmp_path / "near", "whisper-base")
    catalog = opened(project=[tmp_path / "project"], environment=[tmp_path / "near"])
    catalog.get("whisper-base")
    assert (catalog.entry("whisper-base").replaces, catalog.notices) == (None, ())
    assert opened(user=tmp_path / "near").entry("whisper-base").replaces is None


def test_a_second_catalog_of_the_project_still_takes_the_name_over(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "whisper-base")
    catalog = opened(project=[tmp_path / "one", tmp_path / "two"])
    assert catalog.entry("whisper-base").replaces == "built-in"


@pytest.mark.skipif(os.name == "nt", reason="owners of POSIX systems")
def test_a_projects_catalog_of_another_user_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "project", "m")
    strangers = {path.stat().st_uid + 1}
    for named in (path, path.parent):
        catalog = Catalog.open(user=None, project=[named], environment=[], owners=strangers)
        assert "m" not in catalog.names()
        assert [str(named) in notice for notice in catalog.notices] == [True]
        assert named in catalog.consulted
    assert "m" in Catalog.open(user=path.parent, project=[], environment=[], owners=strangers).names()
    with pytest.raises(ConfigError):
        Catalog.open(user=None, project=[tmp_path / "absent"], environment=[], owners=strangers)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_single_manifests_of_other_users_are_ignored_and_counted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "project", name)
    for name in ("b", "c"):
        os.chown(tmp_path / "project" / f"{name}.toml", 12345, -1)
    catalog = Catalog.open(user=None, project=[tmp_path / "project"], environment=[], owners={0})
    assert {"a", "b", "c"} & set(catalog.names()) == {"a"}
    assert "b.toml (and 1 more there)" in catalog.notices[0]
