"""Credentials for the repositories of OCI registries: Basic, and the tokens of a token service.

A registry that requires credentials answers 401 and says of which kind. A token is requested from the service
that the registry names, for reading one repository (for a push: for writing, too), and the request is sent
again once::

    GET  https://registry.example/v2/models/m/blobs/sha256:...     401, WWW-Authenticate: Bearer realm=...
    GET  https://auth.example/token?service=...&scope=repository:models/m:pull       {"token": "..."}
    GET  https://registry.example/v2/models/m/blobs/sha256:...     Authorization: Bearer ...

The registry chooses the service, so its address is checked: https (http only if both are on this machine),
and not in a private network unless the registry is (CVE-2026-33990, CVE-2025-51471). The scope is made here
and not taken from the answer, so that a registry cannot ask for more than the command needs. A token goes to
the registry's own origin only, never along a redirect to a CDN. The steps are those of the OCI distribution
specification and of the token authentication of distribution/distribution.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit, urlunsplit

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.net.credentials import Credential
from modelfetch.net.registry_urls import RegistryRepository, is_loopback
from modelfetch.net.responses import Challenged, ResponseHead, refusal
from modelfetch.net.urls import host_of, is_private_host, is_secure

if TYPE_CHECKING:
    from modelfetch.net.answers import Answer
    from modelfetch.net.challenges import Challenge
    from modelfetch.net.client import Client
    from modelfetch.settings.docker_credentials import RegistryLogin

T = TypeVar("T")
FindLogin = Callable[[str, str], "RegistryLogin | None"]
"""Returns the user's login for a registry and the path of a repository."""

_ANSWER_BYTES: Final = 256 * 1024
"""Longest answer of a token service in bytes; real ones have up to 10,000."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}")
"""Visible ASCII, which a header can carry (RFC 9110, 5.5)."""
_URL: Final = re.compile(r"[!-\[\]-~]+")
"""Visible ASCII without a backslash, which some parsers of URLs read as a slash."""
_DEFAULT_SECONDS: Final = 60.0
"""How long a token is valid if the service does not say (distribution, token.md)."""
_LONGEST_SECONDS: Final = 86_400.0
"""A token is renewed at least once a day, whatever the service says."""
_EARLY_SECONDS: Final = 5.0
"""A token is renewed before it expires, since a request takes time to arrive."""
_ATTEMPTS: Final = 4
"""Most attempts at one request, however often other threads renew the credential."""
_CLIENT_ID: Final = "modelfetch"


class RegistryAuth:
    """The credentials of one run, by repository. May be used by several threads.

    Args:
        client: HTTP client of the run.
        find_login: Called only when a registry asks for credentials.
        clock: Returns monotonic seconds.
        is_writing: Whether tokens are requested for writing too, for a push.
    """

    def __init__(
        self,
        client: Client,
        find_login: FindLogin = lambda _registry, _repository: None,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_writing: bool = False,
    ) -> None:
        self._client = client
        self._find_login = find_login
        self._clock = clock
        self._is_writing = is_writing
        self._lock = threading.Lock()
        self._known: dict[RegistryRepository, _Access] = {}

    def send(self, repository: RegistryRepository, request: Callable[[Credential | None], T]) -> T:
        """Send a request to a repository with the credential that it needs.

        Args:
            repository: The repository.
            request: Sends the request with a credential. If it raises Challenged, it is called again with a
                fresh one, once.

        Raises:
            SourceError: The request failed, or no credential that the registry accepts can be had.
            Cancelled: The run was cancelled.
        """
        access = self._access(repository)
        used, is_fresh = access.current(), False
        for _ in range(_ATTEMPTS):
            try:
                return request(used)
            except Challenged as error:
                if is_fresh:
                    raise access.refused(error.message) from error
                challenge = error.challenge
            # Not always fresh: another thread may have fetched it before, and it may have expired since.
            used, is_fresh = access.renewed(challenge, used)
        raise access.refused("the login was refused (401)")

    def has_login(self, repository: RegistryRepository) -> bool:
        """Whether the user has a login for a repository that asked for one."""
        return self._access(repository).has_login()

    def _access(self, repository: RegistryRepository) -> _Access:
        with self._lock:
            found = self._known.get(repository)
            if found is None:
                found = _Access(repository, self._client, self._find_login, self._clock, self._is_writing)
                self._known[repository] = found
            return found


class _Access:
    """The credential of one repository. One thread at a time fetches a token; the others wait for it."""

    def __init__(
        self,
        repository: RegistryRepository,
        client: Client,
        find_login: FindLogin,
        clock: Callable[[], float],
        is_writing: bool,
    ) -> None:
        self._repository = repository
        self._client = client
        self._find_login = find_login
        self._clock = clock
        self._is_writing = is_writing
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._credential: Credential | None = None
        self._until = 0.0
        self._failure: SourceError | None = None
        """Why no credential can be had; kept, so that not each file of a model asks again."""
        self._login: tuple[RegistryLogin | None] | None = None
        """The user's login, once it was looked up."""

    def current(self) -> Credential | None:
        """The credential to send; a token that has expired is renewed. None if none is known to be needed."""
        with self._lock:
            if self._challenge is not None and self._clock() >= self._until:
                self._obtain(self._challenge)
            return self._credential

    def renewed(self, challenge: Challenge, used: Credential | None) -> tuple[Credential, bool]:
        """The credential to send after a 401, and whether it was fetched by this call.

        Args:
            challenge: What the registry asked for.
            used: The credential that it refused.

        Raises:
            SourceError: None can be had, or there is no other one than ``used``.
        """
        with self._lock:
            is_newer = self._credential is not None and self._credential != used
            is_fresh = not is_newer or self._clock() >= self._until
            if is_fresh:  # else another thread has renewed it meanwhile
                self._obtain(challenge)
            if self._credential is None or self._credential == used:
                raise self._refusal("the login was refused (401)")
            return self._credential, is_fresh

    def has_login(self) -> bool:
        """Whether a login was looked up, and found."""
        with self._lock:
            return self._login is not None and self._login[0] is not None

    def refused(self, message: str) -> SourceError:
        """The error for a request that was refused with a fresh credential."""
        with self._lock:
            return self._refusal(message)

    def _refusal(self, message: str) -> SourceError:
        login = self._find()
        host = self._repository.registry
        if login is None:
            how = f"`docker login {host}` or `podman login {host}` stores a login"
            hint = f"It may be private, or not exist; {how}."
            hint = f"A push needs a login; {how}." if self._is_writing else hint
        else:
            verb = "write to" if self._is_writing else "read"
            hint = f"The login of {login.origin} may not {verb} it: check it, or log in to {host} again."
        return SourceError(Fault.AUTHORIZATION, message, hint=hint)

    def _find(self) -> RegistryLogin | None:
        if self._login is None:
            self._login = (self._find_login(self._repository.registry, self._repository.name),)
        return self._login[0]

    def _obtain(self, challenge: Challenge) -> None:
        """Store a new credential.

        Raises:
            SourceError: None can be had. A failure that will not pass is raised at once the next time.
        """
        if self._failure is not None:
            known = self._failure
            raise SourceError(known.fault, known.message, hint=known.hint, elsewhere=known.elsewhere)
        try:
            self._credential, self._until = self._answer(challenge)
        except SourceError as error:
            if not error.retry:
                self._failure = error
            raise
        self._challenge = challenge

    def _answer(self, challenge: Challenge) -> tuple[Credential, float]:
        """A credential for a challenge, and the time when it expires."""
        login = self._find()
        asked = challenge.parameters("Bearer")
        if asked is not None:
            realm = check_realm(asked.get("realm", ""), self._repository, is_public=challenge.is_public)
            return self._token(realm, asked.get("service", ""), login, is_public=challenge.is_public)
        if challenge.parameters("Basic") is None:
            raise SourceError(Fault.AUTHORIZATION, "asks for a kind of login that is not supported (401)")
        if login is None or login.is_identity_token:
            raise self._refusal("access refused (401)")
        url = self._repository.endpoint
        return Credential.basic(url, login.user, login.secret.reveal()), float("inf")

    def _token(
        self, realm: str, service: str, login: RegistryLogin | None, *, is_public: bool
    ) -> tuple[Credential, float]:
        """Request a token from the token service at ``realm``."""
        asked_at = self._clock()
        try:
            with self._ask(realm, service, login, is_public=is_public) as answer:
                token, seconds = self._read(answer)
        except SourceError as error:
            error.message = f"no token: {error.message}"
            error.args = (error.message,)
            if host_of(realm) != host_of(self._repository.endpoint):
                error.elsewhere = error.elsewhere or host_of(realm)
            raise
        until = asked_at + max(seconds - _EARLY_SECONDS, seconds / 2)
        return Credential.bearer(self._repository.endpoint, token), until

    def _ask(self, realm: str, service: str, login: RegistryLogin | None, *, is_public: bool) -> Answer:
        fields = {"Accept": "application/json"}
        asked = {"service": service} if service else {}
        actions = "pull,push" if self._is_writing else "pull"
        asked["scope"] = f"repository:{self._repository.name}:{actions}"
        if login is not None and tracing.active is not None:
            tracing.active.hide(login.secret.reveal())
        if login is not None and login.is_identity_token:
            form = {"grant_type": "refresh_token", "client_id": _CLIENT_ID, **asked}
            form["refresh_token"] = login.secret.reveal()
            return self._client.open(realm, fields, None, public_only=is_public, form=form)
        parts = urlsplit(realm)
        query = "&".join(filter(None, (parts.query, urlencode(asked))))
        url = urlunsplit(parts._replace(query=query))
        credential = None if login is None else Credential.basic(realm, login.user, login.secret.reveal())
        return self._client.open(url, fields, credential, public_only=is_public)

    def _read(self, answer: Answer) -> tuple[str, float]:
        """Read the answer of a token service: the token, and the seconds it is valid."""
        if answer.status in (400, 401, 403):
            raise self._refusal(f"access refused ({answer.status})")
        if answer.status != 200:
            raise refusal(ResponseHead(answer.status, answer.headers))
        document = _document(answer.read(_ANSWER_BYTES))
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise SourceError(Fault.PROTOCOL, "the answer holds no token")
        return token, _seconds(document.get("expires_in"))


def _seconds(stated: object) -> float:
    if isinstance(stated, int | float) and not isinstance(stated, bool) and stated > 0:
        return float(min(stated, _LONGEST_SECONDS))
    return _DEFAULT_SECONDS


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SourceError(Fault.PROTOCOL, "the answer is not a JSON object")
    return document


def check_realm(realm: str, repository: RegistryRepository, *, is_public: bool) -> str:
    """Check the address of a token service that a registry named.

    Args:
        realm: The address.
        repository: Repository of the registry.
        is_public: Whether the registry's answer came from the public internet.

    Returns:
        The address, without a fragment.

    Raises:
        SourceError: A request must not be sent there.
    """
    host = _host(realm)
    if not host:
        raise SourceError(Fault.REDIRECT, "names no valid address of a token service")
    is_realm_local, is_registry_local = is_loopback(host), repository.is_on_this_machine
    if not is_secure(realm) and not (is_realm_local and is_registry_local):
        raise SourceError(Fault.REDIRECT, f"names a token service without TLS ({host_of(realm)})")
    # A server on the internet, or in the local network, must not make requests to services that only this
    # machine or this network reaches. What a name resolves to is checked when connecting (``public_only``).
    if (is_realm_local and not is_registry_local) or (is_private_host(host) and is_public):
        raise SourceError(Fault.REDIRECT, f"names a token service in a private network ({host_of(realm)})")
    return realm.partition("#")[0]


def _host(realm: str) -> str:
    """The host of an http or https URL; empty if it is malformed, or has user information."""
    try:
        parts = urlsplit(realm)
        _ = parts.port  # raises if it is not a number
    except ValueError:
        return ""
    is_valid = _URL.fullmatch(realm) and parts.scheme in ("http", "https") and "@" not in parts.netloc
    return parts.hostname or "" if is_valid else ""
