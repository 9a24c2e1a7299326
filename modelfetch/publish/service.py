"""Requests to the servers that models are published on: retries, and errors in the words of the server.

No redirect is followed, so that a secret stays at the origin of its target. What a server says about a
failure is shown without secrets, since some servers repeat the token that they refuse. Classes of refusals::

    401, 403                       the token is missing, wrong, or may not do that
    402, 403 or 409 about a limit  the quota of the account; no retry
    413                            too large
    429, 5xx, cut, stall           retried, after the time that the server asks for
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from modelfetch.errors import AuthorizationError, Fault, SourceError, UnavailableError
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.errors import MalformedError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.text import sanitize
from modelfetch.net.hub_client import refused
from modelfetch.net.outgoing import Outgoing
from modelfetch.settings.secret_values import KnownSecrets

if TYPE_CHECKING:
    from modelfetch.errors import ModelfetchError
    from modelfetch.net.answers import Answer
    from modelfetch.net.hub_client import HubClient
    from modelfetch.publish.targets import Target

T = TypeVar("T")

_ANSWER_BYTES: Final = 1 << 20
"""Most bytes read of an answer; a list of ten pins has about 10,000."""
_TEXT_LIMIT: Final = 200
"""Most characters shown of what a server says about a failure."""
_QUOTA: Final = re.compile(
    r"quota|limit|insufficient|exceed|upgrade|plan\b|funds|storage|billing", re.IGNORECASE
)
"""Words with which services say that an account is used up. Pinata answers 403, the Pinning Service API 409
with ``INSUFFICIENT_FUNDS``."""
_TOKEN_HINTS: Final = {
    "kubo": "Set KUBO_API_TOKEN as in the node's API.Authorizations.",
    "pinata": "Renew PINATA_JWT (or PINATA_API_KEY and PINATA_SECRET_KEY), with the right to pin.",
    "pinning-service": "Renew IPFS_PINNING_TOKEN.",
}
_TOO_LARGE_HINTS: Final = {
    "kubo": "A proxy before the node limits requests: raise its limit, or go around it.",
    "pinata": "Use --to kubo, which gets a model in parts, and let Pinata fetch it from there.",
    "pinning-service": "Check the address of --to.",
}
RERUN_HINT: Final = "Run the command again: what was sent is skipped."


class QuotaError(SourceError):
    """The account has no room for the model."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer."""

    status: int
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is anything else."""
        return _object(self.body)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects of a body with one on each line."""
        return [found for line in self.body.splitlines() if (found := _object(line))]


class Service:
    """One server that gets models.

    Args:
        hub: Sends requests.
        target: The server, and the secrets for it.
    """

    def __init__(self, hub: HubClient, target: Target) -> None:
        self.target: Final = target
        self._hub = hub
        self._secrets = KnownSecrets()
        for secret in target.headers.values():
            self._secrets.add(secret)
        if target.credential is not None:
            self._secrets.add(target.credential.value)

    def request(
        self, path: str, outgoing: Outgoing, accepted: Collection[int] = (200,), *, doing: str
    ) -> Reply:
        """Send a request that can be sent again; transient failures are retried.

        Args:
            path: Path and query below the address of the target.
            outgoing: Method and content.
            accepted: Statuses that are no failure.
            doing: What this is for, as a clause that continues "cannot ...", for errors.

        Raises:
            AuthorizationError: The server refused the secret.
            UnavailableError: The server cannot be reached, or refused.
            Cancelled: The run was cancelled.
        """
        return self.retried(doing, partial(self.send, path, outgoing, accepted))

    def retried(self, doing: str, act: Callable[[], T]) -> T:
        """Call what sends requests until it succeeds; transient failures are retried.

        Raises:
            ModelfetchError: As for :meth:`request`.
        """
        return self.translated(doing, lambda: self._hub.retried(self.target.url, act))

    def send(self, path: str, outgoing: Outgoing, accepted: Collection[int] = (200,)) -> Reply:
        """Send a request once.

        Raises:
            SourceError: It failed.
            Cancelled: The run was cancelled.
        """
        target = self.target
        outgoing = replace(outgoing, headers={**outgoing.headers, **target.headers})
        with self._hub.client.send(f"{target.url}{path}", outgoing, target.credential) as answer:
            if answer.status not in accepted:
                raise self._refusal(answer)
            return Reply(answer.status, answer.read(_ANSWER_BYTES))

    def wait(self, error: SourceError, failures: int) -> None:
        """Wait before the next attempt at something large; raise the error if there is none."""
        self._hub.wait(error, failures, self.target.url)

    def translated(self, doing: str, act: Callable[[], T]) -> T:
        """Call a function; raise its failure as an error for the user.

        Raises:
            AuthorizationError: The server refused the secret.
            UnavailableError: It cannot be reached, or refused.
        """
        try:
            return act()
        except SourceError as error:
            raise self._error(error, doing) from error

    def said(self, text: str) -> str:
        """Text of the server for a message: on one line, shortened, without secrets."""
        return self._secrets.mask(text)[:_TEXT_LIMIT].strip()

    def _error(self, error: SourceError, doing: str) -> ModelfetchError:
        message = f"{self.target.host}: cannot {doing}: {error.message}"
        if isinstance(error, QuotaError):
            return UnavailableError(message, hint="Make room in the account, or publish elsewhere.")
        if error.fault is Fault.AUTHORIZATION:
            return AuthorizationError(message, hint=_TOKEN_HINTS[self.target.kind])
        hint = error.hint or (RERUN_HINT if error.fault.is_transient else "Check the address of --to.")
        if error.fault is Fault.CONNECT and self.target.kind == "kubo":
            hint = "Start the node (`ipfs daemon`), or give its address: --to kubo=URL."
        return UnavailableError(message, hint=hint)

    def _refusal(self, answer: Answer) -> SourceError:
        error = refused(answer)
        # A proxy in between may answer with a page; then the status has to do.
        said = self.said(_message(answer))
        if answer.status == 402 or (answer.status in (403, 409) and _QUOTA.search(said)):
            return QuotaError(Fault.PROTOCOL, f"the quota is used up ({answer.status}{_clause(said)})")
        if answer.status == 413:
            message = f"it does not take so much at once (413{_clause(said)})"
            return SourceError(Fault.PROTOCOL, message, hint=_TOO_LARGE_HINTS[self.target.kind])
        if 300 <= answer.status < 400:
            return SourceError(Fault.REDIRECT, f"it redirects ({answer.status}), which is not followed")
        if said and error.fault not in (Fault.AUTHORIZATION, Fault.NOT_FOUND):
            message = f"{error.message}{_clause(said)}"
            return SourceError(error.fault, message, retry=error.retry, retry_after=error.retry_after)
        return SourceError(error.fault, error.message, retry=error.retry, retry_after=error.retry_after)


def _clause(said: str) -> str:
    """What a server said, to continue a message with."""
    return f": {said}" if said else ""


def _message(answer: Answer) -> str:
    """What an answer says about a failure, in the forms of all three kinds of servers."""
    try:
        return message_of(_object(answer.read(_ANSWER_BYTES)))
    except SourceError:  # the status alone says enough
        return ""


def message_of(document: Mapping[str, Any]) -> str:
    """What a document says about a failure; empty if it says nothing."""
    return sanitize(": ".join(_texts(document)))


def is_same_cid(text: object, cid: Cid) -> bool:
    """Whether a server's text is the CID of a block, in whatever version and base."""
    try:
        return isinstance(text, str) and Cid.parse(text).multihash == cid.multihash
    except MalformedError:
        return False


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    error = document.get("error")
    if isinstance(error, dict):
        yield from (str(error[key]) for key in ("reason", "details") if error.get(key))
    elif isinstance(error, str):
        yield error
    elif isinstance(document.get("Message"), str):
        yield document["Message"]


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
