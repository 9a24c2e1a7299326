"""What holds for all tests."""

from __future__ import annotations

import os


def pytest_xdist_auto_num_workers() -> int:
    """Two workers for each processor: half of their time they wait for a process or a clock."""
    return 2 * (os.cpu_count() or 1)
