"""Requests to the APIs of hubs and registries, with retries, for listings and files of unknown size.

A request is retried when its failure may pass: no connection, a cut or slow answer, 408, 425, 429 and 5xx.
The server's own delay (``Retry-After``, ``RateLimit``) is honored up to ``retry.retry_after_cap``. Every
other status is returned to the caller, since each hub gives it a meaning of its own::

    with client.get("https://huggingface.co/api/models/org/repo/revision/main") as answer:
        if answer.status == 200: ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from modelfetch.net.responses import ResponseHead, refusal, strong_etag
from modelfetch.net.retry import RESET_BYTES, RetryPolicy, wait_for
from modelfetch.net.time_limits import Limits
from modelfetch.net.urls import host_of

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.answers import Answer
    from modelfetch.settings.values import Settings

T = TypeVar("T")

_RANGE: Final = re.compile(r"bytes [0-9]{1,19}-[0-9]{1,19}/([0-9]{1,19})")


class HubClient:
    """Sends requests to hubs, for one run.

    Attributes:
        received: Bytes of all bodies read through :meth:`download` so far.
        client: HTTP client of the run, for requests in :meth:`retried`.

    Args:
        client: HTTP client of the run.
        cancel: Ends requests and waits.
        policy: Attempts and delays.
        sleep: Waits for some seconds, or raises Cancelled.
        waiting: Called with a line for the user before each delay that a server asked for.
    """

    def __init__(
        self,
        client: Client,
        cancel: Cancellation,
        policy: RetryPolicy | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
        waiting: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.received = 0
        self.client = client
        self._policy = policy or RetryPolicy()
        self._sleep = sleep or cancel.sleep
        self._waiting = waiting

    @classmethod
    def of_settings(
        cls,
        settings: Settings,
        cancel: Cancellation,
        *,
        waiting: Callable[[str], None],
        may_be_private: Collection[str] | None = None,
    ) -> HubClient:
        """Make a client with the limits and retries of the settings; the caller closes its ``client``.

        Args:
            settings: The settings.
            cancel: Ends requests and waits.
            waiting: As for the class.
            may_be_private: As for :class:`modelfetch.net.client.Client`.
        """
        network, retry = settings.network, settings.retry
        limits = Limits(network.connect_timeout, network.stall_timeout, network.min_speed)
        policy = RetryPolicy(retry.attempts, retry.base, retry.cap, retry.retry_after_cap)
        client = Client(limits, cancel, may_be_private=may_be_private)
        return cls(client, cancel, policy, waiting=waiting)

    def get(
        self,
        url: str,
        *,
        credential: Credential | None = None,
        accept: str = "application/json",
        headers: dict[str, str] | None = None,
        attempts: int | None = None,
    ) -> Answer:
        """Send a GET request; transient failures are retried.

        Args:
            url: Address.
            credential: Sent to its own origin only.
            accept: Media types, as the field ``Accept``.
            headers: Further fields. They are sent along redirects too, so none may be secret.
            attempts: Most attempts, if fewer than usual: where another server can be asked instead.

        Returns:
            The answer, whose status is not one of those that are retried. The caller closes it.

        Raises:
            SourceError: The last attempt failed.
            Cancelled: The run was cancelled.
        """
        fields = {"Accept": accept, **(headers or {})}
        return self.retried(url, lambda: self._attempt(url, fields, credential), attempts)

    def get_json(
        self, url: str, *, credential: Credential | None = None, accept: str = "application/json"
    ) -> tuple[Answer, object]:
        """Send a GET request and read a JSON body; a body that was cut is fetched again.

        Returns:
            The answer, closed, and the document; None unless the status is 200.

        Raises:
            SourceError: The last attempt failed, or the body is not JSON.
            Cancelled: The run was cancelled.
        """

        def attempt() -> tuple[Answer, object]:
            with self._attempt(url, {"Accept": accept}, credential) as answer:
                return answer, answer.json() if answer.status == 200 else None

        return self.retried(url, attempt)

    def retried(self, url: str, attempt: Callable[[], T], attempts: int | None = None) -> T:
        """Call ``attempt`` until it succeeds; transient failures are retried.

        Args:
            url: Address that it asks, for the line about a delay.
            attempt: Sends requests through :attr:`client`.
            attempts: Most attempts, if fewer than the policy allows.

        Raises:
            SourceError: The last attempt failed.
            Cancelled: The run was cancelled.
        """
        failures = 0
        while True:
            try:
                return attempt()
            except SourceError as error:
                failures += 1
                if failures == attempts:
                    raise
                self.wait(error, failures, url)

    def download(self, url: str, limit: int, *, credential: Credential | None = None) -> Iterator[bytes]:
        """Yield the bytes of a file. A transfer that was cut continues where it ended, if the server can.

        Args:
            url: Address.
            limit: Most bytes that are accepted.
            credential: Sent to its own origin only.

        Raises:
            SourceError: The file cannot be read; a refusal has the fault that its status stands for.
            Cancelled: The run was cancelled.
        """
        received, counted, failures, etag = 0, 0, 0, ""
        while True:
            try:
                with self._open_from(url, received, etag, credential) as answer:
                    etag = etag or strong_etag(answer.headers)
                    for piece in answer.pieces(limit - received):
                        received += len(piece)
                        self.received += len(piece)
                        yield piece
                    if received >= _total(answer):
                        return
                    raise SourceError(Fault.CUT, "sent less than the rest of the file")
            except SourceError as error:
                failures += 1
                if received - counted >= RESET_BYTES:
                    counted, failures = received, 1
                self.wait(error, failures, url)

    def _open_from(self, url: str, start: int, etag: str, credential: Credential | None) -> Answer:
        """Open a file at an offset. Only a strong validator proves that the rest belongs to the beginning."""
        if start and not etag:
            message = "the connection was cut, and this server offers no safe way to continue"
            raise SourceError(Fault.CUT, message, retry=False)
        fields = {"Range": f"bytes={start}-", "If-Range": etag} if start else {}
        answer = self._attempt(url, {"Accept": "*/*", **fields}, credential)
        if answer.status == (206 if start else 200) and _begins_at(answer, start):
            return answer
        answer.close()
        if answer.status == 200:
            raise SourceError(Fault.SIZE, "the file changed while it was read")
        raise refused(answer)

    def _attempt(self, url: str, headers: dict[str, str], credential: Credential | None) -> Answer:
        answer = self.client.open(url, headers, credential)
        if answer.status < 400:
            return answer
        error = refused(answer)
        if error.fault not in (Fault.BUSY, Fault.SERVER):
            return answer
        answer.close()
        raise error

    def wait(self, error: SourceError, failures: int, url: str) -> None:
        """Wait before the next attempt; raise the error if there is none.

        Args:
            error: Why the last attempt failed.
            failures: Failed attempts so far, since the last progress.
            url: Address of the request, for the line about a delay.

        Raises:
            SourceError: The error, if it will not pass or there were attempts enough.
            Cancelled: The run was cancelled.
        """
        asked = error.retry_after
        is_too_long = asked is not None and asked > self._policy.retry_after_cap
        if not error.retry or failures >= self._policy.attempts or is_too_long:
            raise error
        seconds = wait_for(self._policy, failures, asked)
        if tracing.active is not None:
            tracing.active.say(f"retry: {host_of(url)}: {error.message}; next attempt in {seconds:.1f} s")
        if asked is not None:
            self._waiting(f"{host_of(url)} asks to wait: {error.message}; next attempt in {seconds:.0f} s")
        self._sleep(seconds)


def refused(answer: Answer) -> SourceError:
    """Make the error for a status that is no success."""
    return refusal(ResponseHead(answer.status, answer.headers, challenge=answer.challenge))


def _total(answer: Answer) -> int:
    """The size of the file, as a part of it states it; 0 if it is not stated."""
    stated = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    return int(stated[1]) if stated and answer.status == 206 else 0


def _begins_at(answer: Answer, start: int) -> bool:
    return not start or answer.headers.get("content-range", "").strip().startswith(f"bytes {start}-")
