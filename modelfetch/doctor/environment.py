"""Examines settings and their origins, proxies, trust anchors, tokens, Python, catalogs and the history.

Tokens are shown only as present or not, and the addresses of proxies without user and password. A setting is
shown if it differs from its default, with its origin, for example ``network.files``: ``8, from environment
MODELFETCH_NETWORK_FILES``.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.doctor.findings import ENVIRONMENT, Finding, State
from modelfetch.errors import ManifestError, ModelfetchError
from modelfetch.model.text import sanitize
from modelfetch.net import mdns, proxies
from modelfetch.net.mdns_records import usable_networks
from modelfetch.settings import SETTINGS, Value, redact, shown
from modelfetch.settings.docker_credentials import RegistryLogins
from modelfetch.settings.load import NO_EFFECT, idle_part
from modelfetch.version import __version__

if TYPE_CHECKING:
    from modelfetch.workspace import Workspace

PACKAGES: Final = ("httpx", "httpcore", "h11", "truststore", "rich", "typer", "filelock", "platformdirs")
"""Packages whose version decides how modelfetch works, in the order in which they are shown."""
SERVER_PACKAGES: Final = ("starlette", "uvicorn", "sse-starlette")
"""Packages of the extra ``serve``."""
LAN_PACKAGES: Final = ("zeroconf",)
"""Packages of the extra ``lan``."""


def environment_findings(workspace: Workspace, *, has_disk: bool = True) -> list[Finding]:
    """Return the findings on the environment of a workspace.

    Args:
        workspace: The workspace.
        has_disk: Whether the cache's disk answers; otherwise the history in it is not read.
    """
    return [
        *_versions(workspace),
        *_files(workspace),
        *_settings(workspace),
        *_notices(workspace),
        *_proxies(),
        *_trust(),
        *_tokens(workspace),
        *_catalogs(workspace),
        *([_history(workspace)] if has_disk else []),
    ]


def _finding(check: str, message: str, state: State = State.OK, hint: str = "") -> Finding:
    return Finding(ENVIRONMENT, check, state, sanitize(message), sanitize(hint))


def _versions(workspace: Workspace) -> Iterator[Finding]:
    yield _finding("modelfetch", f"{__version__} in {Path(__file__).parents[1]}")
    yield _finding(
        "python",
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
        f" {platform.machine()}, {sys.executable}",
    )
    yield _finding("packages", _versions_of(PACKAGES))
    found = _versions_of(SERVER_PACKAGES)
    yield _finding("serve", found or "not installed: needed for `modelfetch serve` only")
    yield from _lan(is_enabled=workspace.loaded.settings.lan.enabled)


def _lan(*, is_enabled: bool) -> Iterator[Finding]:
    """Whether peers in the local network can be found, if that is turned on."""
    if not is_enabled:
        yield _finding("lan", "off: peers are those of sources.peers")
    elif not mdns.is_installed():
        hint = "pip install 'modelfetch[lan]', or turn off lan.enabled."
        yield _finding("lan", "peers cannot be found: the package zeroconf is missing", State.FAILURE, hint)
    elif not (networks := usable_networks(mdns.interfaces())):
        hint = "Connect this machine to a network, or name the peers in sources.peers."
        yield _finding("lan", "this machine is in no network in which peers could be", State.WARNING, hint)
    else:
        found = ", ".join(str(each.network) for each in networks[:8])
        yield _finding("lan", f"{_versions_of(LAN_PACKAGES)}; peers are found in {found}")


def _versions_of(packages: tuple[str, ...]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # optional, or packed into a program without its metadata
            continue
    return ", ".join(found)


def _files(workspace: Workspace) -> Iterator[Finding]:
    loaded = workspace.loaded
    path = loaded.user_config
    yield _finding("user's file", f"{path!s}{'' if path.exists() else ' (does not exist)'}")
    project = loaded.project_file
    yield _finding("project's file", "none here or above" if project is None else str(project))


def _settings(workspace: Workspace) -> Iterator[Finding]:
    loaded = workspace.loaded
    values = {setting.name: loaded.settings.value(setting.name) for setting in SETTINGS}
    run: dict[str, Value] = {"cache_dir": str(loaded.cache_dir), "offline": loaded.offline}
    for name, value in (run | values).items():
        origin = loaded.origins[name]
        if origin == "default":
            continue
        idle = idle_part(name)
        if idle:
            hint = f"{idle} has {NO_EFFECT} in this version; remove it, or leave it for a later version."
            yield _finding(name, f"{shown(value)}, from {origin}", State.WARNING, hint)
        else:
            yield _finding(name, f"{shown(value)}, from {origin}")


def _notices(workspace: Workspace) -> Iterator[Finding]:
    for notice in workspace.opening_notices:
        if not notice.startswith(NO_EFFECT):  # these are findings of their settings
            yield _finding("settings", notice, State.WARNING, "Correct the file or variable that it names.")


def _proxies() -> Iterator[Finding]:
    for variable in proxies.from_environment().variables:
        value = os.environ.get(variable, "")
        yield _finding("proxy", f"{variable}={redact(value if '://' in value else f'http://{value}')}")
    if exceptions := os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")):
        yield _finding("no proxy for", exceptions)


def _trust() -> Iterator[Finding]:
    try:
        from modelfetch.net.tls import tls_context, trust_source
    except ImportError:
        hint = "Use another Python; without ssl no request is possible."
        yield _finding("tls", "this Python has no ssl module", State.FAILURE, hint)
        return
    import ssl

    try:
        context = tls_context()
    except ModelfetchError as error:
        yield _finding("tls", error.message, State.FAILURE, error.hint)
        return
    number = len(context.get_ca_certs()) if hasattr(context, "get_ca_certs") else 0
    certificates = f"{number} certificates of " if number else ""
    yield _finding("tls", f"{ssl.OPENSSL_VERSION}; trusts {certificates}{trust_source()}")


def _tokens(workspace: Workspace) -> Iterator[Finding]:
    loaded = workspace.loaded
    for name, secret in (("hf_token", loaded.hf_token), ("ms_token", loaded.ms_token)):
        origin = loaded.origins[name]
        yield _finding(name, f"present, from {origin}" if secret is not None else _absent(origin))
    files = RegistryLogins.of_user(os.environ).present_files()
    yield _finding("registry logins", f"in {', '.join(map(str, files))}" if files else "no file")
    is_set = bool(os.environ.get("MODELFETCH_SERVE_TOKEN"))
    yield _finding(
        "serve token", "present, from environment MODELFETCH_SERVE_TOKEN" if is_set else "not present"
    )


def _absent(origin: str) -> str:
    return "not present" if origin in ("", "default", "not set") else f"not present ({origin})"


def _catalogs(workspace: Workspace) -> Iterator[Finding]:
    catalog = workspace.catalog
    numbers: dict[str, int] = {}
    for name in catalog.names():
        origin = catalog.entry(name).origin
        numbers[origin] = numbers.get(origin, 0) + 1
        if origin == "built-in":  # these are tested with every release
            continue
        try:
            catalog.get(name)
        except ManifestError as error:
            yield _finding("catalog", error.message, State.FAILURE, error.hint)
    yield _finding("models", ", ".join(f"{number} {origin}" for origin, number in numbers.items()))


def _history(workspace: Workspace) -> Finding:
    """Whether the history can be read. Losing it loses no model, so it is no failure."""
    with workspace.history() as history:
        exists = os.path.lexists(history.path)
        history.health(datetime.now(UTC))
        notice = history.notice
    if notice:
        hint = "Runs work without it. Remove state.db in the cache if it stays unusable."
        return _finding("history", notice, State.WARNING, hint)
    return _finding("history", "state.db can be read" if exists else "none yet")
