"""Run from a zip archive, as zipapp, shiv and PEX make them: the built-in catalog is found."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import modelfetch
from tests.e2e.command import PATIENCE, Command
from tests.origin import Origin, model

MAIN = """
import sys
sys.path.append({dependencies!r})
from modelfetch.__main__ import main

main()
"""


def zipped(cli: Command) -> Path:
    """Put the package into an archive; what it depends on stays where it is installed."""
    package, archive = Path(modelfetch.__file__).parent, cli.home / "modelfetch.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(package.rglob("*")):
            if "__pycache__" not in path.parts:
                file.write(path, Path("modelfetch") / path.relative_to(package))
        file.writestr("__main__.py", MAIN.format(dependencies=sysconfig.get_path("purelib")))
    return archive


@pytest.mark.slow
def test_a_zipped_program_finds_the_catalog_and_works(cli: Command, origin: Origin) -> None:
    cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    archive = zipped(cli)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(archive), *arguments],
            env=cli.environment,
            cwd=cli.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        return done.stdout

    assert "whisper-base" in run("list")
    assert f"{archive}/modelfetch/catalog/demo.toml" in run("show", "demo", "--json").replace("\\\\", "/")
    directory = run("ensure", "m")
    assert run("ensure", "m") == directory
