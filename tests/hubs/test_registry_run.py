"""Models of a registry, ensured: transfers that are cut, tokens that expire, and logins of the user."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.write import manifest_toml
from tests.e2e.command import Command
from tests.hubs.registry import Registry, digest_of

BIG = bytes(range(256)) * 8_000
FILES = {"big.bin": BIG, "config.json": b"{}", "b.json": b"[]"}


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the logins of the person who runs the tests out of them."""
    for variable in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add(*FILES.values())
        yield registry


def pin(cli: Command, registry: Registry, *paths: str) -> None:
    """Write a manifest whose only source is the registry, of all files or of some."""
    contents = {path: FILES[path] for path in paths or FILES}
    files = tuple(FileSpec(path, len(data), digest_of(data)[7:]) for path, data in contents.items())
    manifest = Manifest("tiny", "1", files, oci=f"{registry.host}/lab/tiny")
    (cli.catalog / "tiny.toml").write_text(manifest_toml(manifest), "utf-8")
    cli.environment["MODELFETCH_NETWORK_CONNECTIONS"] = "1"


def assert_ensured(cli: Command, *paths: str) -> None:
    cli.prepare("tiny")
    place = cli.cache / "models" / "tiny" / "1"
    for path in paths or FILES:
        assert (place / path).read_bytes() == FILES[path]


def test_a_cdn_that_cuts_is_asked_for_the_rest_and_gets_no_token(cli: Command, registry: Registry) -> None:
    with Registry(cut_after=500_000) as cdn:
        cdn.add(*FILES.values())
        registry.scheme, registry.cdn = "Bearer", cdn.endpoint
        pin(cli, registry)
        assert_ensured(cli)
        big = [each for each in cdn.asked if digest_of(BIG) in each.path]
        assert [each.headers["range"].startswith("bytes=0-") for each in big] == [True, False]
        assert {each.authorization for each in cdn.asked} == {""}
    assert len(registry.paths("token")) == 1


def test_a_token_that_expires_in_the_middle_of_a_file_is_renewed(cli: Command, registry: Registry) -> None:
    registry.scheme, registry.cut_after, registry.expires_at_cut = "Bearer", 500_000, True
    pin(cli, registry, "big.bin")
    assert_ensured(cli, "big.bin")
    assert len(registry.paths("token")) == 2


def test_the_login_of_docker_is_used(
    cli: Command, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.scheme, registry.login = "Bearer", ("user", "s3cr3t")
    pin(cli, registry)
    login = {"auth": base64.b64encode(b"user:s3cr3t").decode()}
    (cli.home / "config.json").write_text(json.dumps({"auths": {registry.host: login}}), "utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(cli.home))
    assert_ensured(cli)
