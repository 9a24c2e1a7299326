"""Logins for registries from the files that ``docker login`` and ``podman login`` write.

The files are searched in this order, and the first one that knows the registry decides:
``REGISTRY_AUTH_FILE``, ``$XDG_RUNTIME_DIR/containers/auth.json``, ``~/.config/containers/auth.json``, and
``config.json`` in ``$DOCKER_CONFIG`` or ``~/.docker``. In one file, ``credHelpers`` of the registry comes
first, then ``auths`` (the longest path first), then ``credsStore``. For example::

    {"auths": {"registry.example/team": {"auth": "dXNlcjpwYXNz"}}, "credHelpers": {"ghcr.io": "pass"}}

Places and files are the user's own: no setting of a project changes them. A file that cannot be used is
reported and skipped, since public repositories need no login.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.regular_file import read_regular
from modelfetch.model.text import quote, sanitize
from modelfetch.settings.config_files import is_there
from modelfetch.settings.locations import expand, home_directory
from modelfetch.settings.values import Secret

_SIZE_CAP: Final = 1 << 20
"""Largest file, in bytes; a real one has a few hundred."""
_ANSWER_CAP: Final = 64 * 1024
"""Longest answer of a credential helper, in bytes. Tokens of cloud registries have a few thousand."""
_HELPER_SECONDS: Final = 30.0
"""Time limit of a credential helper, which may ask a key store or a cloud service."""
_HELPER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""Names of helpers. They become a part of a program's name, so they contain no separator of paths."""
_NO_LOGIN: Final = "credentials not found"
"""Part of what helpers print if they have no login for a registry (docker-credential-helpers)."""
_HUB: Final = "docker.io"
_HUB_KEY: Final = "https://index.docker.io/v1/"
"""Docker Hub's key in these files and for helpers."""
_HUB_NAMES: Final = frozenset({_HUB, "index.docker.io", "registry-1.docker.io"})
_IDENTITY: Final = "<token>"
"""User name with which a helper marks its secret as an identity token."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """A login for one registry."""

    user: str
    """Empty with an identity token."""
    secret: Secret
    origin: str
    """Where it was found, for messages."""
    is_identity_token: bool = False
    """Whether the secret is an OAuth 2 refresh token, which only the registry's token service takes."""


class RegistryLogins:
    """Finds the user's logins.

    Args:
        environ: The environment, usually ``os.environ``.
        home: The user's home directory.
        report: Called with a line for the user about each file or helper that cannot be used.
    """

    def __init__(self, environ: Mapping[str, str], home: Path, report: Report = lambda _: None) -> None:
        self._environ = environ
        self._home = home
        self._report = report

    @classmethod
    def of_user(cls, environ: Mapping[str, str], report: Report = lambda _: None) -> RegistryLogins:
        """Find logins by the environment and the home directory that it names, whatever the settings say.

        A project may change settings, but must not choose the logins that are sent to its hosts.
        """
        return cls(environ, home_directory(environ), report)

    def find(self, registry: str, repository: str) -> RegistryLogin | None:
        """Return the login for a repository, or None.

        Args:
            registry: Host, with its port where one was given.
            repository: Path of the repository in the registry.
        """
        for path in self._files():
            document = self._read(path)
            if document is None:
                continue
            where = f"file {sanitize(str(path))}"
            if found := self._find_in(document, where, _canonical(registry), repository):
                return found
        return None

    def present_files(self) -> list[Path]:
        """Return the files that exist, in the order in which they are searched. None of them is read."""
        return [path for path in self._files() if is_there(path)]

    def _files(self) -> Iterator[Path]:
        environ, home = self._environ, self._home
        if named := environ.get("REGISTRY_AUTH_FILE", "").strip():
            yield expand(named, home)
        if runtime := environ.get("XDG_RUNTIME_DIR", "").strip():
            yield Path(runtime, "containers", "auth.json")
        shared = environ.get("XDG_CONFIG_HOME", "").strip()
        yield (Path(shared) if shared else home / ".config") / "containers" / "auth.json"
        docker = environ.get("DOCKER_CONFIG", "").strip()
        yield (expand(docker, home) if docker else home / ".docker") / "config.json"

    def _read(self, path: Path) -> dict[str, Any] | None:
        where = f"file {sanitize(str(path))}"
        try:
            data = read_regular(path, _SIZE_CAP + 1)
        except (OSError, ValueError) as error:
            if is_there(path):
                why = getattr(error, "strerror", None) or error
                self._report(f"{where}: logins of registries cannot be read ({why}); none is sent from it.")
            return None
        try:
            document = json.loads(data) if len(data) <= _SIZE_CAP else None
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            return document
        self._report(f"{where}: expected a JSON object of at most 1 MiB; no login is sent from it.")
        return None

    def _find_in(
        self, document: Mapping[str, Any], where: str, registry: str, repository: str
    ) -> RegistryLogin | None:
        helpers = self._table(document, "credHelpers", where)
        named = {_canonical(_without_scheme(key)): value for key, value in helpers.items()}
        if registry in named:
            return self._from_helper(named[registry], registry, where)
        auths = self._table(document, "auths", where)
        if found := self._from_auths(auths, where, registry, repository):
            return found
        store = document.get("credsStore")
        return self._from_helper(store, registry, where) if store else None

    def _table(self, document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
        table = document.get(key) or {}
        if isinstance(table, dict):
            return table
        self._report(f"{where}: {key} is not a table; it is ignored.")
        return {}

    def _from_auths(
        self, auths: Mapping[str, Any], where: str, registry: str, repository: str
    ) -> RegistryLogin | None:
        """Find the entry with the longest path; one without a secret only says that a helper has it."""
        entries = {_key(key): value for key, value in auths.items()}
        parts = repository.split("/") if repository else []
        for count in range(len(parts), -1, -1):
            key = "/".join((registry, *parts[:count]))
            entry = entries.get(key)
            if entry is None or entry == {}:
                continue
            try:
                if found := _login(entry, where):
                    return found
            except ValueError as error:
                self._report(f"{where}: the login for {quote(key)} {error}; it is not sent.")
        return None

    def _from_helper(self, name: object, registry: str, where: str) -> RegistryLogin | None:
        if not isinstance(name, str) or not _HELPER.fullmatch(name):
            self._report(f"{where}: the name of a credential helper is not valid; it is not run.")
            return None
        program = f"docker-credential-{name}"
        try:
            answer = self._run(program, _HUB_KEY if registry == _HUB else registry)
            return None if answer is None else _read_answer(answer, program)
        except ValueError as error:
            self._report(f"{program} ({where}) {error}; no login is sent.")
            return None

    def _run(self, program: str, server: str) -> bytes | None:
        """Run a credential helper; returns its answer, None if it has no login.

        Raises:
            ValueError: It failed.
        """
        found = shutil.which(program, path=self._environ.get("PATH"))
        if found is None:
            raise ValueError("is not installed")
        try:
            ended = subprocess.run(  # noqa: S603 - named by the user's file, without a shell
                [found, "get"],
                input=server.encode(),
                capture_output=True,
                timeout=_HELPER_SECONDS,
                env=dict(self._environ),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"did not answer within {_HELPER_SECONDS:.0f} s") from None
        except OSError as error:
            raise ValueError(f"cannot be run ({error.strerror})") from error
        if ended.returncode == 0:
            return ended.stdout
        if _NO_LOGIN in (ended.stdout + ended.stderr).decode("utf-8", "replace").lower():
            return None
        raise ValueError(f"failed (exit code {ended.returncode})")


def _without_scheme(key: str) -> str:
    """Remove what older versions of Docker wrote around a host: ``https://HOST/v1/``."""
    bare = re.sub(r"^https?://", "", key)
    return bare.partition("/")[0] if bare != key else bare


def _canonical(registry: str) -> str:
    """The name of a registry in lower case; Docker Hub has three."""
    lower = registry.lower()
    return _HUB if lower in _HUB_NAMES else lower


def _key(key: str) -> str:
    """The key of an entry as registry, or registry and path."""
    registry, slash, path = _without_scheme(key).rstrip("/").partition("/")
    return f"{_canonical(registry)}{slash}{path}"


def _login(entry: object, where: str) -> RegistryLogin | None:
    """Read an entry of ``auths``; None if it holds no secret.

    Raises:
        ValueError: It is malformed.
    """
    if not isinstance(entry, dict):
        raise ValueError("is not a table")  # noqa: TRY004 - of the data, not of the call
    token, pair = entry.get("identitytoken"), entry.get("auth")
    if token:
        return _checked_login("", token, where, is_identity_token=True)
    if pair:
        user, password = _decoded(pair)
        return _checked_login(user, password, where)
    if entry.get("username") or entry.get("password"):
        return _checked_login(entry.get("username"), entry.get("password"), where)
    return None


def _decoded(pair: object) -> tuple[str, str]:
    """Decode base64 of ``user:password``; Docker pads the password with NUL."""
    try:
        text = base64.b64decode(pair if isinstance(pair, str) else "", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    user, _, password = text.partition(":")
    return user, password.strip("\0")


def _checked_login(
    user: object, secret: object, where: str, *, is_identity_token: bool = False
) -> RegistryLogin:
    """Make a login, after a check of its parts.

    Raises:
        ValueError: They cannot be sent in a header; the message does not show them.
    """
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        raise ValueError("has no user and password")
    is_printable = user.isprintable() and secret.isprintable() and ":" not in user
    if not is_printable or not (user or is_identity_token):
        raise ValueError("has no valid user and password")
    return RegistryLogin(user, Secret(secret), where, is_identity_token)


def _read_answer(answer: bytes, program: str) -> RegistryLogin:
    """Read the answer of a credential helper.

    Raises:
        ValueError: It is malformed.
    """
    try:
        document = json.loads(answer) if len(answer) <= _ANSWER_CAP else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ValueError("sent an answer that is not a JSON object")  # noqa: TRY004
    user, secret = document.get("Username"), document.get("Secret")
    if user == _IDENTITY:
        return _checked_login("", secret, program, is_identity_token=True)
    return _checked_login(user, secret, program)
