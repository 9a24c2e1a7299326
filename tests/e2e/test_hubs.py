"""Pins of Hugging Face and ModelScope with the real command, against loopback hubs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import Command, assert_fails
from tests.hubs.huggingface import HubRepo, HuggingFaceHub, pointer
from tests.hubs.modelscope import ModelScopeSite
from tests.hubs.server import Reply, Request

pytestmark = pytest.mark.slow  # the same is tested in the quick suite, without the command

TOKEN = "hf_canary_canary_canary"
WEIGHTS = bytes(range(256)) * 4000
SMALL = {"config.json": b'{"a": 1}\n', "README.md": b"hello\n"}
FILES = SMALL | {"onnx/model.onnx": WEIGHTS}


@pytest.fixture
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as hub:
        yield hub


@pytest.fixture
def site() -> Iterator[ModelScopeSite]:
    with ModelScopeSite() as site:
        yield site


@pytest.fixture
def repo(hub: HuggingFaceHub) -> HubRepo:
    return hub.add("org/repo", FILES)


@pytest.fixture
def cli(tmp_path: Path, hub: HuggingFaceHub, site: ModelScopeSite) -> Command:
    command = Command(tmp_path / "home")
    command.environment |= {
        "MODELFETCH_CONFIG": str(tmp_path / "config.toml"),
        "MODELFETCH_CATALOG": "",
        "HF_ENDPOINT": hub.endpoint,
        "MODELSCOPE_ENDPOINT": site.endpoint,
    }
    (tmp_path / "config.toml").write_text("")
    return command


@pytest.mark.parametrize("revision", ["tag", "branch", "short", "full"])
def test_every_form_of_revision(cli: Command, hub: HuggingFaceHub, repo: HubRepo, revision: str) -> None:
    old = repo.branches["branch"] = repo.tags["tag"] = repo.branches["main"]
    repo.commit({"config.json": b"new"})
    reference = f"hf:org/repo@{ {'short': old[:8], 'full': old}.get(revision, revision) }"
    done = cli("add", reference)
    assert done.code == 0, done.err
    assert old[:12] in done.err
    assert sorted(hub.targets("/resolve/")) == [f"/org/repo/resolve/{old}/{path}" for path in sorted(SMALL)]
    assert cli("ensure", reference).code == 0


def test_2600_files(cli: Command, hub: HuggingFaceHub) -> None:
    hub.add("org/many", {f"d/{n:04}.onnx": b"%d" % n for n in range(2600)} | SMALL)
    done = cli("add", "hf:org/many", "--include", "d/*")
    assert done.code == 0, done.err
    assert done.stderr_lines("2600 files")
    assert len(hub.targets("/tree/")) == 3
    assert not hub.targets("/resolve/")


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_datasets_and_spaces(cli: Command, hub: HuggingFaceHub, kind: str) -> None:
    hub.add("org/data", FILES, kind="dataset" if kind == "dataset" else "space")
    assert cli("ensure", f"hf:{kind}s/org/data").code == 0


def test_refusals_and_their_exit_codes(cli: Command, hub: HuggingFaceHub, repo: HubRepo) -> None:
    hub.renamed["old/name"] = "org/repo"
    done = cli("add", "hf:old/name", "--dry-run")
    assert (done.code, done.stderr_lines("old/name was renamed to org/repo") != []) == (0, True)
    assert_fails(cli("add", "hf:org/none"), 3, "does not exist", "is private", "requires a login")
    assert_fails(cli("add", "hf:org/repo@nil"), 3, "no branch, tag or commit 'nil'")
    repo.token = TOKEN
    assert_fails(cli("add", "hf:org/repo"), 3, "is private")
    assert_fails(cli("add", "hf:org/repo", HF_TOKEN="hf_wrong_wrong_wrong"), 9, "refused the token")
    repo.is_gated = True
    repo.facts["gated"] = "manual"
    assert_fails(cli("add", "hf:org/repo"), 9, "cannot read '", "hf:org/repo is gated")
    assert cli("add", "hf:org/repo", "--dry-run", HF_TOKEN=TOKEN).code == 0
    repo.facts["disabled"] = True
    assert_fails(cli("add", "hf:org/repo", HF_TOKEN=TOKEN), 9, "is disabled")
    hub.script("/revision/", Reply(429, {"Retry-After": "4000"}))
    assert_fails(cli("add", "hf:org/repo"), 6, "too many requests (429)", "asks to wait 4000 s")
    assert_fails(cli("add", "hf:org/repo", MODELFETCH_OFFLINE="1"), 4)


def test_a_rate_limit_is_waited_for(cli: Command, hub: HuggingFaceHub, repo: HubRepo) -> None:
    hub.script("/revision/", Reply(429, {"Retry-After": "1"}))
    assert cli("add", "hf:org/repo").code == 0


def test_a_revision_that_moves_while_it_is_listed(cli: Command, hub: HuggingFaceHub, repo: HubRepo) -> None:
    def moved(request: Request) -> Reply:
        reply = hub.answer(request)
        repo.commit(FILES | {"config.json": b"new"})
        return reply

    hub.script("/tree/", moved)
    done = cli("ensure", "hf:org/repo")
    assert done.code == 0, done.err
    assert done.stderr_lines("moved from")
    assert repo.branches["main"][:12] in done.out


def test_an_lfs_pointer_is_refused(cli: Command, hub: HuggingFaceHub) -> None:
    hub.add("org/pointers", SMALL | {"weights.txt": pointer(WEIGHTS)})
    assert_fails(cli("add", "hf:org/pointers"), 2, "'weights.txt' is a Git LFS pointer")
    assert cli("add", "hf:org/pointers", "--exclude", "weights.txt").code == 0


def test_the_second_hub_finishes_what_the_first_began(
    cli: Command, hub: HuggingFaceHub, site: ModelScopeSite, repo: HubRepo
) -> None:
    site.add("org/repo", FILES)
    assert cli("add", "hf:org/repo", "ms:org/repo").code == 0
    assert not hub.targets("model.onnx")

    def cut(request: Request) -> Reply:
        hub.is_dead = True
        return Reply(200, {}, WEIGHTS, cut=400_000)

    hub.script("/resolve/", cut)
    done = cli("ensure", "repo", "--connections", "1", "--files", "1")
    assert done.code == 0, done.err
    assert done.stderr_lines("fallback: huggingface", "modelscope")
    [path] = cli.cache.rglob("model.onnx")
    assert path.read_bytes() == WEIGHTS
    ranges = [request.headers.get("range") for request in site.requests if "model.onnx" in request.target]
    assert ranges == [f"bytes=400000-{len(WEIGHTS) - 1}"]
