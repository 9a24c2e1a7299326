"""Logins of container tools: where they are looked for, and files that are no good."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelfetch.settings import docker_credentials
from modelfetch.settings.docker_credentials import RegistryLogins

CANARY = "s3cr3t-canary"


def pair(user: str, password: str = CANARY) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


class Machine:
    """A home directory with files of container tools."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.programs = root / "bin"
        self.programs.mkdir(parents=True)
        self.environ = {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        self.reported: list[str] = []

    def write(self, path: str, document: Any) -> Path:
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
        return file

    def helper(self, name: str, script: str) -> None:
        program = self.programs / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        program.chmod(0o755)

    def find(self, registry: str, repository: str = "lab/m") -> tuple[str, str] | None:
        found = RegistryLogins(self.environ, self.home, self.reported.append).find(registry, repository)
        return None if found is None else (found.user, found.secret.reveal())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_no_file_is_no_login(machine: Machine) -> None:
    assert machine.find("ghcr.io") is None
    assert machine.reported == []


def test_the_order_of_the_files(machine: Machine) -> None:
    home = machine.home
    places = [
        ("REGISTRY_AUTH_FILE", home / "named.json", "named.json"),
        ("XDG_RUNTIME_DIR", home / "run", "run/containers/auth.json"),
        ("XDG_CONFIG_HOME", home / "conf", "conf/containers/auth.json"),
        ("DOCKER_CONFIG", home / "docker", "docker/config.json"),
    ]
    for variable, value, path in reversed(places):
        machine.environ[variable] = str(value)
        machine.write(path, {"auths": {"ghcr.io": pair(variable)}})
        assert machine.find("ghcr.io") == (variable, CANARY)


@pytest.mark.parametrize("path", [".config/containers/auth.json", ".docker/config.json"])
def test_the_files_at_home(machine: Machine, path: str) -> None:
    machine.write(path, {"auths": {"ghcr.io": pair("me")}})
    assert machine.find("ghcr.io") == ("me", CANARY)


def test_a_file_that_does_not_know_the_registry_is_passed_over(machine: Machine) -> None:
    machine.write(".config/containers/auth.json", {"auths": {"quay.io": pair("podman")}})
    machine.write(".docker/config.json", {"auths": {"ghcr.io": pair("docker")}})
    assert machine.find("ghcr.io") == ("docker", CANARY)


@pytest.mark.parametrize(
    ("registry", "repository", "user"),
    [
        ("ghcr.io", "org/team/model", "team"),
        ("ghcr.io", "org/team", "team"),
        ("ghcr.io", "org/teams", "org"),
        ("ghcr.io", "other", "host"),
        ("GHCR.io", "other", "host"),
        ("quay.io", "x", "old"),
        ("docker.io", "ai/m", "hub"),
        ("index.docker.io", "ai/m", "hub"),
        ("localhost:5000", "m", "port"),
        ("localhost:5001", "m", None),
        ("evil-ghcr.io", "m", None),
        ("ghcr.io.evil.example", "m", None),
    ],
)
def test_which_entry_decides(machine: Machine, registry: str, repository: str, user: str | None) -> None:
    keys = {
        "ghcr.io/org": "org",
        "ghcr.io/org/team": "team",
        "ghcr.io": "host",
        "https://quay.io/v1/": "old",
        "https://index.docker.io/v1/": "hub",
        "localhost:5000": "port",
    }
    machine.write(".docker/config.json", {"auths": {key: pair(user) for key, user in keys.items()}})
    assert machine.find(registry, repository) == (user and (user, CANARY))
    assert machine.reported == []


@pytest.mark.parametrize(
    ("entry", "user", "secret", "is_identity_token"),
    [
        (pair("u", "p:w"), "u", "p:w", False),
        (pair("u", "pw\0\0"), "u", "pw", False),
        (pair("u", "pässwört"), "u", "pässwört", False),
        ({"username": "u", "password": "pw"}, "u", "pw", False),
        ({**pair("<token>", ""), "identitytoken": "refresh"}, "", "refresh", True),
    ],
)
def test_the_forms_of_an_entry(
    machine: Machine, entry: dict[str, str], user: str, secret: str, is_identity_token: bool
) -> None:
    machine.write(".docker/config.json", {"auths": {"ghcr.io": entry}})
    found = RegistryLogins(machine.environ, machine.home).find("ghcr.io", "m")
    assert found is not None
    assert (found.user, found.secret.reveal(), found.is_identity_token) == (user, secret, is_identity_token)
    assert secret not in repr(found)


@pytest.mark.parametrize(
    "entry",
    [
        "text",
        [],
        7,
        {"auth": 7},
        {"auth": "no base64 " + CANARY},
        {"auth": base64.b64encode(b"\xff\xfe").decode()},
        {"auth": base64.b64encode(b"no colon").decode()},
        pair(""),
        pair("u", ""),
        pair("u", f"{CANARY}\r\nX-Injected: 1"),
        {"username": "u", "password": 5},
        {"username": "a:b", "password": CANARY},
        {"identitytoken": {"a": CANARY}},
    ],
)
def test_a_malformed_entry_is_reported_and_not_sent(machine: Machine, entry: object) -> None:
    machine.write(".docker/config.json", {"auths": {"ghcr.io/org": entry, "ghcr.io": pair("host")}})
    assert machine.find("ghcr.io", "org/m") == ("host", CANARY)
    if entry != []:  # an empty value says, like {}, that another place has the login
        [line] = machine.reported
        assert "'ghcr.io/org'" in line
        assert CANARY not in line


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\x00",
        json.dumps({"auths": {"x": "y" * (1 << 20)}}),
    ],
)
def test_a_file_that_is_no_object_is_reported(machine: Machine, content: str) -> None:
    machine.write(".docker/config.json", content)
    assert machine.find("ghcr.io") is None
    [line] = machine.reported
    assert "config.json" in line


@pytest.mark.parametrize(
    "document", [{"auths": []}, {"auths": "x"}, {"auths": 7}, {"credHelpers": ["x"]}, {"credsStore": 7}]
)
def test_tables_of_wrong_types_are_reported(machine: Machine, document: dict[str, Any]) -> None:
    machine.write(".docker/config.json", document)
    assert machine.find("ghcr.io") is None
    assert len(machine.reported) == (0 if document == {"auths": []} else 1)


def test_a_pipe_does_not_block(machine: Machine) -> None:
    path = machine.write(".docker/config.json", "")
    path.unlink()
    os.mkfifo(path)
    assert machine.find("ghcr.io") is None
    assert "not a regular file" in machine.reported[0]


def test_a_helper_answers_for_its_registry(machine: Machine) -> None:
    machine.helper(
        "lab", f"""cat >"$0.asked"; echo '{{"ServerURL":"x","Username":"h","Secret":"{CANARY}"}}'"""
    )
    machine.write(
        ".docker/config.json", {"auths": {"ghcr.io": pair("file")}, "credHelpers": {"ghcr.io": "lab"}}
    )
    assert machine.find("ghcr.io") == ("h", CANARY)
    assert (machine.programs / "docker-credential-lab.asked").read_text("utf-8") == "ghcr.io"
    assert machine.find("quay.io") is None


def test_the_store_is_asked_last_and_with_the_key_of_the_hub(machine: Machine) -> None:
    machine.helper("store", """cat >"$0.asked"; echo '{"Username":"<token>","Secret":"refresh"}'""")
    auths = {"https://index.docker.io/v1/": {}, "ghcr.io": pair("file")}
    machine.write(".docker/config.json", {"auths": auths, "credsStore": "store"})
    assert machine.find("ghcr.io") == ("file", CANARY)
    found = RegistryLogins(machine.environ, machine.home).find("docker.io", "ai/m")
    assert found is not None
    assert (found.secret.reveal(), found.is_identity_token) == ("refresh", True)
    asked = (machine.programs / "docker-credential-store.asked").read_text("utf-8")
    assert asked == "https://index.docker.io/v1/"


def test_a_helper_without_a_login_is_no_news(machine: Machine) -> None:
    machine.helper("store", "echo 'credentials not found in native keychain'; exit 1")
    machine.write(".docker/config.json", {"credsStore": "store"})
    assert machine.find("ghcr.io") is None
    assert machine.reported == []


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "failed (exit code 3)"),
        ("echo no json", "not a JSON object"),
        ("echo []", "not a JSON object"),
        ("head -c 100000 /dev/zero", "not a JSON object"),
        ("""echo '{"Username":"u"}'""", "no user and password"),
        ("""printf %s '{"Username":"u","Secret":"a\\nb"}'""", "no valid user and password"),
        ("sleep 60", "did not answer"),
    ],
)
def test_a_helper_that_fails_is_reported(
    machine: Machine, script: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script.startswith("sleep"):
        script = f"exec {script}"
        monkeypatch.setattr(docker_credentials, "_HELPER_SECONDS", 0.1)
    machine.helper("lab", script)
    machine.write(".docker/config.json", {"credHelpers": {"ghcr.io": "lab"}})
    assert machine.find("ghcr.io") is None
    [line] = machine.reported
    assert line.startswith("docker-credential-lab (file ")
    assert why in line


@pytest.mark.parametrize("name", ["../evil", "/bin/evil", "a b", "", "-x", "a\0b", "x" * 100, 7, None, ["x"]])
def test_the_name_of_a_helper_is_checked(machine: Machine, name: object) -> None:
    machine.write(".docker/config.json", {"credHelpers": {"ghcr.io": name}})
    assert machine.find("ghcr.io") is None
    assert "the name of a credential helper is not valid" in machine.reported[0]


def test_a_helper_that_is_not_installed_is_reported(machine: Machine) -> None:
    machine.write(".docker/config.json", {"credHelpers": {"ghcr.io": "nowhere"}})
    assert machine.find("ghcr.io") is None
    assert "is not installed" in machine.reported[0]
