"""The environment: what differs from the default and why, and no secret in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfetch.doctor.environment import environment_findings
from modelfetch.doctor.findings import Finding, State, masked
from modelfetch.version import __version__
from modelfetch.workspace import Workspace

SECRET = "s3cr3t-canary"


def examine(home: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> dict[str, Finding]:
    for name in [name for name in os.environ if name.lower().endswith(("_proxy", "_token"))]:
        monkeypatch.delenv(name)
    base = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "MODELFETCH_CACHE_DIR": str(home / "cache"),
    }
    for name, value in (base | environ).items():
        monkeypatch.setenv(name, value)
    workspace = Workspace.open(environ=dict(os.environ), cwd=home)
    found = [masked(finding) for finding in environment_findings(workspace)]
    assert all(each.hint for each in found if each.state in (State.WARNING, State.FAILURE))
    assert all(SECRET not in each.message + each.hint for each in found)
    return {finding.check: finding for finding in found}


def test_the_usual_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(tmp_path, monkeypatch)
    assert {finding.state for finding in found.values()} == {State.OK}
    assert found["modelfetch"].message.startswith(__version__)
    assert "httpx 0." in found["packages"].message
    assert "OpenSSL" in found["tls"].message
    assert found["hf_token"].message == found["ms_token"].message == "not present"
    assert found["registry logins"].message == "no file"
    assert found["history"].message == "none yet"
    assert found["cache_dir"].message == "~/cache, from environment MODELFETCH_CACHE_DIR"
    assert "network.files" not in found, "it has its default"


def test_settings_are_shown_with_their_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config" / "modelfetch").mkdir(parents=True)
    (tmp_path / "config" / "modelfetch" / "config.toml").write_text("[network]\nfiles = 8\n")
    (tmp_path / "modelfetch.toml").write_text("[lan]\nenabled = true\n[network]\nconnections = 2\n")
    found = examine(tmp_path, monkeypatch, MODELFETCH_LAN_ENABLED="1")
    assert found["network.files"].message.startswith("8, from user config ~/config/modelfetch/config.toml")
    assert found["network.connections"].message == "2, from project file ~/modelfetch.toml"
    assert found["lan.enabled"].message == "true, from environment MODELFETCH_LAN_ENABLED"
    assert found["lan"].message.startswith(("zeroconf ", "this machine is in no network", "peers cannot"))
    assert found["project's file"].message == "~/modelfetch.toml"
    assert found["settings"].state is State.WARNING


def test_secrets_are_present_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(f'{{"auths": {{"r.example": {{"auth": "{SECRET}"}}}}}}')
    found = examine(
        tmp_path,
        monkeypatch,
        HF_TOKEN=f"hf_{SECRET}",
        MODELFETCH_SERVE_TOKEN=SECRET * 3,
        HTTPS_PROXY=f"http://user:{SECRET}@proxy.example:3128",
        NO_PROXY=".example.org",
        MODELFETCH_SOURCES_MIRRORS=f"https://user:{SECRET}@mirror.example/{{path}}?key={SECRET}",
    )
    assert found["hf_token"].message == "present, from environment HF_TOKEN"
    assert found["serve token"].message == "present, from environment MODELFETCH_SERVE_TOKEN"
    assert found["registry logins"].message == "in ~/.docker/config.json"
    assert found["proxy"].message == "HTTPS_PROXY=http://***@proxy.example:3128"
    assert found["no proxy for"].message == ".example.org"
    assert "mirror.example" in found["sources.mirrors"].message


def test_trust_anchors_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(tmp_path, monkeypatch, SSL_CERT_FILE=str(tmp_path / "gone.pem"))
    assert found["tls"].state is State.FAILURE
    assert "SSL_CERT_FILE" in found["tls"].hint


def test_a_wrong_manifest_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "bad.toml").write_text("schema = 1\n")
    found = examine(tmp_path, monkeypatch, MODELFETCH_CATALOG=str(tmp_path / "catalog"))
    assert found["catalog"].state is State.FAILURE
    assert "bad" in found["catalog"].message
    assert "1 environment" in found["models"].message


def test_a_history_that_cannot_be_used_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache" / "state.db").mkdir(parents=True)
    assert examine(tmp_path, monkeypatch)["history"].state is State.WARNING
