"""The panel's pure modules, run by Node where there is one: nothing is installed for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import modelfetch
from modelfetch.model.units import format_duration, format_rate, format_size

NODE = shutil.which("node")
STATIC = Path(modelfetch.__file__).parent / "server" / "static"
UNIT = Path(__file__).parent / "unit"

pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed")

SIZES = [
    *(0, 1, 999, 1000, 1125, 1135, 9994, 9995, 9996, 12_250, 12_350, 99_949, 99_950, 100_500, 101_500),
    *(999_499, 999_500, 999_999, 82_468_078, 208_521_528, 10**9 - 1, 4_700_000_000, 2**53 - 1),
]
SECONDS = [0, 0.4, 0.5, 1.5, 2.5, 59.4, 59.5, 60, 92, 3599.6, 3600, 7500, 86_399, 86_400, 273_600]


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """The modules in a directory that tells Node that they are modules."""
    shutil.copytree(STATIC, tmp_path / "static")
    shutil.copytree(UNIT, tmp_path / "unit")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    return tmp_path


def node(modules: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    return subprocess.run(
        [NODE, *arguments], cwd=modules, capture_output=True, text=True, timeout=30, check=False
    )


def test_units(modules: Path) -> None:
    """Every unit test passes."""
    tests = [f"import './{path.relative_to(modules)}';" for path in sorted(modules.glob("unit/*.test.js"))]
    done = node(modules, "--input-type=module", "--eval", "\n".join(tests))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fail 0" in done.stdout


def test_figures_read_as_on_the_command_line(modules: Path) -> None:
    """Sizes, rates and durations have the same text in the browser and in the terminal."""
    script = f"""
        import {{ formatDuration, formatRate, formatSize }} from "./static/format.js";
        const [sizes, seconds] = {json.dumps([SIZES, SECONDS])};
        const texts = [sizes.map(formatSize), sizes.map(formatRate), seconds.map(formatDuration)];
        console.log(JSON.stringify(texts));
    """
    done = node(modules, "--input-type=module", "--eval", script)
    assert done.returncode == 0, done.stderr
    expected = [
        list(map(format_size, SIZES)),
        list(map(format_rate, SIZES)),
        list(map(format_duration, SECONDS)),
    ]
    assert json.loads(done.stdout) == expected
