"""Secrets are sent where they belong and written nowhere: no output, no file of the cache."""

from __future__ import annotations

import base64

import pytest

from tests.e2e.command import Command, Result
from tests.origin import Origin, faults, model

TOKEN = "hf_canaryTokenOfTheUser"
USER, PASSWORD = "canary-user", "canary-pass-word"
QUERY = "canary-query-secret"


@pytest.mark.slow
def test_no_secret_is_ever_written(cli: Command, origin: Origin) -> None:
    """Over a run in which everything that is told or noted somewhere happens, and all commands that show."""
    with Origin() as mirror, Origin() as cdn:
        _misbehave(mirror, cdn)
        origin.redirect_large(cdn, at=1000)
        origin.require_token(TOKEN)
        files = {"a.bin": 3_000_000, "b.bin": 100_000}
        model(mirror, files)
        cli.serve(model(origin, files, catalog=cli.catalog))
        shown = _show_everything(cli, mirror)
        secrets = [*_own_secrets(), *cdn.signatures, "X-Amz-Signature"]
        sent = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        # doctor sends no credential, every other request has one.
        assert {request.header("Authorization") for request in mirror.requests} == {f"Basic {sent}", None}
    texts = [text for result in shown for text in (result.out, result.err)]
    stored = [path.read_bytes() for path in cli.files() if path.suffix != ".bin"]
    assert [secret for secret in secrets for text in texts if secret in text] == []
    assert [secret for secret in secrets for data in stored if secret.encode() in data] == []
    assert any(path.name == "reason.json" for path in cli.files("quarantine"))
    assert any(path.name.startswith("journal") for path in cli.files("partial"))


def _misbehave(mirror: Origin, cdn: Origin) -> None:
    """Wrong bytes for the quarantine, refusals for the messages, a stop in the middle for the journal."""
    mirror.fault("b.bin", faults.wrong_bytes())
    mirror.fault("a.bin", faults.status(404))  # says nothing of the host, which is asked for the other file
    cdn.fault("*", faults.cut(2_000_000), when=lambda request: request.file == "a.bin", times=1)
    cdn.fault("*", faults.status(403), when=lambda request: request.file == "a.bin")


def _show_everything(cli: Command, mirror: Origin) -> list[Result]:
    template = mirror.mirror.replace("http://", f"http://{USER}:{PASSWORD}@") + f"?key={QUERY}"
    environment = {
        "HF_TOKEN": TOKEN,
        "MODELFETCH_SOURCES_MIRRORS": template,
        "MODELFETCH_RETRY_ATTEMPTS": "2",
        "HTTPS_PROXY": f"http://{USER}:{PASSWORD}@127.0.0.1:9",
    }
    run = cli("ensure", "m", "--json", **environment)
    assert run.code == 9, run.out
    commands = (
        ["ensure", "m"],
        ["plan", "m"],
        ["config", "show"],
        ["doctor", "m"],
    )
    return [run, *(cli(*command, "-vv", **environment) for command in commands)]


def _own_secrets() -> list[str]:
    return [TOKEN, PASSWORD, QUERY, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()]
