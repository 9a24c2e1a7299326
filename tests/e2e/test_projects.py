"""What comes with somebody else's repository: told, kept apart, and within its bounds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.command import Command, InProcess, assert_fails, together
from tests.origin import Origin, ServedModel, model


class Clone(InProcess):
    """A command that runs in a project of its own; home and cache are those of everybody."""

    def __init__(self, home: Path, name: str) -> None:
        super().__init__(home / name)
        self.cache = home / "cache"
        self.environment |= {
            "HOME": str(home),
            "MODELFETCH_CACHE_DIR": str(self.cache),
            "MODELFETCH_CATALOG": "",
        }
        self.models = self.work / "models"
        self.settle()

    def settle(self, settings: str = "") -> None:
        (self.work / "modelfetch.toml").write_text(f'catalog = ["models"]\n{settings}')
        self.models.mkdir(exist_ok=True)


@pytest.fixture
def project(tmp_path: Path) -> Clone:
    return Clone(tmp_path, "project")


def told_of_network(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if "private network" in line]


@pytest.fixture
def other() -> Iterator[Origin]:
    with Origin() as server:
        yield server


@pytest.mark.slow
def test_two_clones_that_claim_one_name_and_version_are_both_verified(
    tmp_path: Path, origin: Origin, other: Origin
) -> None:
    clones = [Clone(tmp_path, "one"), Clone(tmp_path, "two")]
    served: list[ServedModel] = []
    for number, (clone, server) in enumerate(zip(clones, (origin, other), strict=True)):
        files = {"config.json": bytes([number]) * 300, f"weights{number}.bin": bytes([number]) * 50_000}
        served.append(model(server, files, huggingface=False, urls=(server,), catalog=clone.models))
    results = together([partial(Command.__call__, clone, "ensure", "m") for clone in clones])
    assert [result.code for result in results] == [0, 0], [result.err for result in results]
    directories = [Path(result.out.strip()) for result in results]
    assert len({*directories}) == 2
    for clone, directory, pinned in zip(clones, directories, served, strict=True):
        found = {path.name: path.read_bytes() for path in directory.iterdir()}
        assert found == {path: content.data for path, content in pinned.contents.items()}
        assert clone("path", "m").out.strip() == str(directory)
        assert clone("verify", "m", "--strict").code == 0
        [listed] = [each for each in clone("list", "--json").document["models"] if each["name"] == "m"]
        assert (listed["present"], listed["path"]) == (True, str(directory))
    assert clones[0]("verify", "--strict").code == 0
    assert clones[0]("ensure", "m", "--offline").out.strip() == str(directories[0])
    removed = clones[0]("remove", "m", "--json").document
    assert sorted(removed["versions"]) == sorted(directory.name for directory in directories)


@pytest.mark.slow
def test_a_name_that_a_project_takes_over_is_announced_at_every_run(project: Clone, origin: Origin) -> None:
    model(
        origin, {"a.bin": 500}, name="whisper-base", huggingface=False, urls=(origin,), catalog=project.models
    )
    for _ in range(2):
        result = project("ensure", "whisper-base")
        assert result.code == 0, result.err
        assert (
            len(result.stderr_lines("note: whisper-base is this project's model", "not the built-in one"))
            == 1
        )
    assert not (project.cache / "models" / "whisper-base" / ".ready").exists()
    listed = project("list", "--json").document["models"]
    assert {each["name"]: each["replaces"] for each in listed if each["replaces"]} == {
        "whisper-base": "built-in"
    }
    assert "whisper-base (project)" in project("list", "--present").out


def test_what_a_project_may_not_set_is_told_and_ignored(project: Clone, origin: Origin) -> None:
    model(origin, {"a.bin": 500}, huggingface=False, urls=(origin,), catalog=project.models)
    project.settle("[cache]\nfsync = false\n[serve]\njobs = 9\n[retry]\ncap = 9999\n[network]\nfiles = 2\n")
    result = project("ensure", "m")
    assert result.code == 0
    for key in ("cache.fsync", "serve.jobs", "retry.cap"):
        [line] = result.stderr_lines(f" sets {key}")
        assert str(project.work / "modelfetch.toml") in line
    shown = {line.split()[0]: line for line in project("config", "show").lines if line}
    assert "default" in shown["cache.fsync"]
    assert "modelfetch.toml" in shown["network.files"]


def test_the_first_request_of_a_project_into_a_private_network_is_told(
    project: Clone, origin: Origin
) -> None:
    model(origin, {"a.bin": 500, "b.bin": 700}, huggingface=False, urls=(origin,), catalog=project.models)
    result = project("ensure", "m")
    assert result.code == 0, result.err
    [line] = told_of_network(result.err.splitlines())
    assert f"127.0.0.1:{origin.port}" in line
    lines = result.err.splitlines()
    assert lines.index(line) < next(n for n, each in enumerate(lines) if "is ready" in each)
    assert told_of_network(project("ensure", "m").err.splitlines()) == []  # nothing is asked
    kinds = {record["event"] for record in project("ensure", "m", "--force", "--json").records}
    assert kinds == {
        "run_started",
        "planned",
        "file_started",
        "progress",
        "file_verified",
        "file_committed",
        "model_ready",
        "run_finished",
    }


@pytest.mark.slow
def test_a_place_that_the_user_named_is_not_told(project: Clone, origin: Origin) -> None:
    served = model(origin, {"a.bin": 500}, catalog=project.models)
    project.serve(served)
    assert told_of_network(project("ensure", "m").err.splitlines()) == []
    named = {"MODELFETCH_CATALOG": str(project.models)}
    model(origin, {"a.bin": 500}, huggingface=False, urls=(origin,), catalog=project.models)
    assert told_of_network(project("ensure", "m", "--force", **named).err.splitlines()) == []


@pytest.mark.slow
def test_a_private_mirror_that_only_the_project_names_is_told_for_any_model(
    project: Clone, origin: Origin
) -> None:
    served = model(origin, {"a.bin": 500}, mirrors=[origin], catalog=None)
    template = next(line for line in served.manifest.splitlines() if line.startswith("urls"))
    project.settle(f"[sources]\n{template.replace('urls', 'mirrors', 1)}\n")
    own = project.home / "own"
    own.mkdir()
    text = "\n".join(line for line in served.manifest.splitlines() if line not in (template, "[mirrors]"))
    (own / "m.toml").write_text(text)
    result = project("ensure", "m", MODELFETCH_CATALOG=str(own))
    assert result.code == 0, result.err
    assert len(told_of_network(result.err.splitlines())) == 1


def test_a_file_that_is_not_listed_is_told_and_strictly_a_failure(inside: InProcess, origin: Origin) -> None:
    served = inside.serve(model(origin, {"a.bin": 500}, catalog=inside.catalog))
    inside.prepare("m")
    (inside.directory(served) / "loader.py").write_text("import os")
    loose = inside("verify", "m")
    assert (loose.code, loose.out) == (0, "")
    assert len(loose.stderr_lines("loader.py", "unlisted")) == 1
    assert loose.stderr_lines("1 file, 500 B verified")
    strict = inside("verify", "--strict")
    assert_fails(strict, 5, "loader.py: unlisted", "--repair --strict m")
    assert strict.lines == ["m\tloader.py\tunlisted"]
    repaired = inside("verify", "--repair", "--strict", "--json")
    assert repaired.code == 0
    [gone] = [record for record in repaired.records if record["event"] == "file_quarantined"]
    assert json.loads((Path(gone["path"]) / "reason.json").read_text())["source"] == "unlisted"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_what_is_passed_over_is_told_where_it_is_missed(project: Clone, origin: Origin) -> None:
    model(origin, {"a.bin": 500}, huggingface=False, urls=(origin,), catalog=project.models)
    os.chown(project.models, 12345, -1)
    result = project("ensure", "m")
    assert_fails(result, 3, "no catalog has a model called 'm'")
    assert len(result.stderr_lines("note: ", str(project.models), "belongs to another user")) == 1
    project.settle('models = ["m"]\n')
    os.chown(project.work / "modelfetch.toml", 12345, -1)
    result = project("ensure")
    assert_fails(result, 2, "no model is named")
    assert len(result.stderr_lines("note: ", "modelfetch.toml", "MODELFETCH_CATALOG")) == 1
    assert project("ensure", "m", MODELFETCH_CATALOG=str(project.models)).code == 0
