"""A registry's artifacts are those that a bundle has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelfetch.bundle.writer import members_of
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import PinOrigin, SwarmTorrent
from modelfetch.share.model_index import ModelIndex, PinnedFile, RegistryRepo
from modelfetch.share.registry_artifacts import Artifacts, Document, page, sha256_of, without_secrets
from tests.share.home import CONTENTS, Home, digest, model
from tests.store.material import WHEN


def repo(*manifests: object, name: str = "tiny") -> RegistryRepo:
    found = ModelIndex(list(manifests) or [model()], lambda _: WHEN).registry_repo(name)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_manifest_and_blobs_are_those_of_a_bundle(tmp_path: Path) -> None:
    home = Home(tmp_path)
    members = members_of(home.store, [home.place(model())])
    bundled = {member.name.rpartition("/")[2]: member for member in members if "blobs/" in member.name}
    artifacts = Artifacts()
    manifest = artifacts.manifest(repo(), "latest")
    assert manifest is not None
    assert bundled[manifest.sha256].data == manifest.content
    document = json.loads(manifest.content)
    wanted = [each["digest"] for each in [document["config"], *document["layers"]]]
    assert {f"sha256:{sha256}" for sha256 in bundled} == {f"sha256:{manifest.sha256}", *wanted}
    for reference in wanted:
        blob = artifacts.blob(repo(), reference)
        member = bundled[reference.removeprefix("sha256:")]
        if isinstance(blob, Document):
            assert blob.content == member.data
            assert digest(blob.content) == blob.sha256
        else:
            assert isinstance(blob, PinnedFile)
            assert blob.file.path in CONTENTS


def test_a_manifest_is_found_by_tag_and_digest() -> None:
    artifacts = Artifacts()
    manifest = artifacts.manifest(repo(), "v1")
    assert manifest is not None
    assert artifacts.manifest(repo(), f"sha256:{manifest.sha256}") == manifest
    assert artifacts.manifest(repo(), f"sha256:{manifest.sha256}", tags=False) == manifest
    assert artifacts.manifest(repo(), "v1", tags=False) is None


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "reference",
    ["", "v2", "V1", "../v1", "sha256:", "sha256:" + "0" * 63, "sha256:" + "0" * 64, "sha512:" + "0" * 128],
)
def test_anything_else_is_unknown(reference: str) -> None:
    assert Artifacts().manifest(repo(), reference) is None
    assert Artifacts().blob(repo(), reference) is None


@pytest.mark.parametrize(
    "text", ["sha256:" + "A" * 64, "0" * 64, "sha256:" + "0" * 65, "sha256:" + "0" * 64 + "\n"]
)
def test_a_digest_has_one_spelling(text: str) -> None:
    assert sha256_of(text) is None


def test_a_file_of_another_model_is_not_in_this_repository() -> None:
    other = model("other", {"x": b"secret"}, repo="")
    assert Artifacts().blob(repo(model(), other), f"sha256:{digest(b'secret')}") is None
    assert Artifacts().blob(repo(model(), other, name="other"), f"sha256:{digest(b'secret')}") is not None


def test_a_model_with_a_file_of_the_name_of_its_manifest_is_left_out() -> None:
    found = repo(model(contents={"tiny.toml": b""}))
    assert Artifacts().manifest(found, "latest") is None
    assert Artifacts().tags(found) == []


def test_tags_come_in_pages() -> None:
    assert Artifacts().tags(repo()) == ["latest", "v1"]
    assert page(["a", "b", "c"], "", None) == ["a", "b", "c"]
    assert page(["a", "b", "c"], "a", 1) == ["b"]
    assert page(["a", "b", "c"], "zzz", 5) == []
    assert page(["a", "b", "c"], "", 0) == []


def test_credentials_and_paths_of_this_machine_stay_here() -> None:
    [file, *files] = model().files
    named = replace(
        model(),
        mirrors=("https://user:secret@m.example/{path}", "https://m.example/{path}?sig=secret"),
        files=(replace(file, urls=("https://m.example/a?token=secret", "https://m.example/a")), *files),
        upstream=PinOrigin("/home/secret/model"),
        homepage="https://m.example/?share=secret",
        swarm=SwarmTorrent("ab" * 32, ("https://t.example/announce?passkey=secret", "udp://t.example:80")),
    )
    artifacts = Artifacts()
    document = json.loads(artifacts.manifest(repo(named), "latest").content)  # type: ignore[union-attr]
    toml = artifacts.blob(repo(named), document["layers"][-1]["digest"])
    assert isinstance(toml, Document)
    assert b"secret" not in toml.content
    assert b"https://m.example/a" in toml.content
    assert b"udp://t.example:80" in toml.content


def test_what_is_public_stays_as_it_is() -> None:
    named = replace(
        model(),
        mirrors=("https://m.example/{path}",),
        homepage="https://m.example/model",
        swarm=SwarmTorrent("ab" * 32, ("https://t.example/announce",)),
        upstream=PinOrigin("hf:org/tiny@main", added="2026-01-01"),
    )
    assert without_secrets(named) == named
