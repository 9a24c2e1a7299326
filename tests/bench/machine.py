"""Facts about the machine, without which the figures mean nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def facts(directory: Path) -> dict[str, object]:
    """What the machine is, and how busy it is now."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "filesystem": filesystem(directory),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text("ascii").strip(),
        "load": list(os.getloadavg()),
    }


def filesystem(directory: Path) -> str:
    """The type of the file system a directory is on."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    types = {Path(fields[4]): fields[fields.index("-") + 1] for fields in mounts}
    return next(types[path] for path in (directory, *directory.parents) if path in types)


def _field(path: str, name: str) -> str:
    lines = Path(path).read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
