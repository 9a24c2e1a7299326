"""Without the extra ``s3``: one clear line wherever an object store is named, and no other command fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.command import InProcess, assert_fails
from tests.hubs.test_push import place
from tests.origin import Origin, model

EXTRA = "pip install 'modelfetch[s3]'"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    monkeypatch.setitem(sys.modules, "obstore", None)
    return InProcess(tmp_path)


def test_a_reference_a_push_and_a_mirror_say_what_to_install(cli: InProcess) -> None:
    place(cli, "tiny", {"a.bin": b"a"})
    assert_fails(cli("add", "s3://lab/x"), 2, EXTRA)
    assert_fails(cli("bundle", "push", "tiny", "s3://lab/x"), 2, EXTRA)
    place(cli, "gone", {"b.bin": b"b"})
    for path in cli.files("blobs"):
        path.unlink()
    mirror = {"MODELFETCH_SOURCES_MIRRORS": "s3://lab/{sha256}"}
    assert_fails(cli("ensure", "gone", "--only", "mirror", **mirror), 6, EXTRA)
    assert cli("plan", "gone", **mirror).code == 0
    assert cli("sources", **mirror).code == 0


def test_the_next_source_is_used(cli: InProcess) -> None:
    with Origin() as origin:
        served = cli.serve(model(origin, {"a.bin": 3000}, name="m", catalog=cli.catalog))
        result = cli("ensure", "m", MODELFETCH_SOURCES_MIRRORS="s3://lab/{sha256}")
        assert result.code == 0, result.err
        assert cli.has(served)
