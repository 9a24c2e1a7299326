"""``python -m tests.campaign NAME [OPTIONS]``: runs the module of that name in this package."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent


def _main() -> None:
    names = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"usage: python -m tests.campaign {{{','.join(names)}}}")
    name = sys.argv.pop(1)
    runpy.run_module(f"tests.campaign.{name}", run_name="__main__")


_main()
