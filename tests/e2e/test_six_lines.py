"""The six lines of Python that replace a downloader, as the page has them, against a Hub on the loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import PATIENCE, Command
from tests.hubs.huggingface import HuggingFaceHub
from tests.test_docs import DOCS, blocks

PAGE = DOCS / "how-to" / "replace-your-downloader.md"
FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 400}


@pytest.fixture
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as hub:
        hub.add("my-org/my-model", FILES)
        yield hub


def run(cli: Command, hub: HuggingFaceHub, lines: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the command's clean environment, with the Hub as the Hugging Face Hub."""
    return subprocess.run(
        [sys.executable, "-c", f"{lines}\nprint(directory)"],
        env=cli.environment | {"HF_ENDPOINT": hub.endpoint},
        cwd=cli.work,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.slow
def test_the_six_lines_replace_a_downloader(cli: Command, hub: HuggingFaceHub) -> None:
    """The first run pins and fetches; the second one makes no request; a missing model ends the program."""
    lines = blocks(PAGE, "python")[0]
    assert len([line for line in lines.splitlines() if line]) == 6

    first = run(cli, hub, lines)
    assert first.returncode == 0, first.stderr
    directory = Path(first.stdout.strip())
    assert {path: (directory / path).read_bytes() for path in FILES} == FILES

    before = len(hub.requests)
    assert run(cli, hub, lines).stdout == first.stdout
    assert len(hub.requests) == before

    missing = run(cli, hub, lines.replace("my-model", "other"))
    assert missing.returncode == 1
    assert "my-org/other" in missing.stderr
    assert "Traceback" not in missing.stderr
