"""Publishes through the IPFS Pinning Service API 1.0: a service is asked to fetch a CID, and to keep it.

The service gets no bytes. It fetches the blocks from a node that has them, so the model is given to a kubo
node first, whose addresses are stated as ``origins``::

    GET  /pins?cid=bafy...     a request of an earlier run
    POST /pins                 {"cid": ..., "name": "tiny-1", "origins": [...]}       202, requestid, queued
    GET  /pins/REQUESTID       until its status is pinned or failed

A request that failed is repeated (``POST /pins/REQUESTID``). A service may need hours. So a run waits for a
limited time; the next one finds the request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlencode

from modelfetch.errors import DeadlineError, IntegrityError, UnavailableError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.outgoing import Outgoing
from modelfetch.publish.service import is_same_cid

if TYPE_CHECKING:
    from modelfetch.publish.model_tree import ModelTree
    from modelfetch.publish.service import Reply, Service

Status = Literal["queued", "pinning", "pinned", "failed"]
_STATUSES: Final = ("queued", "pinning", "pinned", "failed")

_FIRST_SECONDS: Final = 1.0
"""First wait between two questions; each is twice as long as the one before."""
_LONGEST_SECONDS: Final = 30.0
"""Longest wait between two questions: services limit them to one every two seconds (Pinata: 30 a minute)."""
_NAME_LIMIT: Final = 255
"""Longest name of a pin in characters, by the specification."""
_ORIGINS_LIMIT: Final = 20
"""Most origins, by the specification."""


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """A request as the service states it."""

    id: str
    status: Status
    delegates: tuple[str, ...] = ()
    """Addresses that a node with the blocks should connect to."""
    details: str = ""


class PinningService:
    """A pinning service.

    Args:
        service: Sends requests.
        tree: The model.
        name: Name of the pin.
        sleep: Waits for some seconds, or raises Cancelled.
        changed: Called with each new status.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        service: Service,
        tree: ModelTree,
        name: str,
        sleep: Callable[[float], None],
        changed: Callable[[Status], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._tree = tree
        self._name = name[:_NAME_LIMIT]
        self._sleep = sleep
        self._changed = changed
        self._clock = clock

    def find(self) -> RequestStatus | None:
        """Find the request of an earlier run: a pinned one, else one under way, else one that failed.

        Raises:
            AuthorizationError: The service refused the token.
            UnavailableError: It cannot be reached.
        """
        query = {"cid": self._tree.root.text, "status": ",".join(_STATUSES), "limit": "10"}
        reply = self._ask("GET", f"/pins?{urlencode(query)}", doing="list pins")
        results = reply.document.get("results")
        if not isinstance(results, list):
            raise self._wrong_form()
        found = [self._checked(each) for each in results]
        order = ("pinned", "pinning", "queued", "failed")
        return min(found, key=lambda each: order.index(each.status), default=None)

    def publish(
        self,
        origins: Sequence[str],
        seconds: float,
        connect: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> RequestStatus:
        """Request a pin, and wait until the service has it.

        Args:
            origins: Addresses of nodes that have the blocks.
            seconds: Longest wait.
            connect: Called with the addresses of the service, to which such a node should connect.

        Raises:
            AuthorizationError: The service refused the token.
            DeadlineError: It still fetches the blocks.
            IntegrityError: It pinned something else.
            UnavailableError: It cannot be reached, or could not pin the model.
            Cancelled: The run was cancelled.
        """
        found = self.find()
        if found is None or found.status == "failed":
            found = self._request(found, origins)
        connect(found.delegates)
        return self._wait(found, seconds)

    def _request(self, earlier: RequestStatus | None, origins: Sequence[str]) -> RequestStatus:
        document: dict[str, Any] = {"cid": self._tree.root.text, "name": self._name}
        if origins:
            document["origins"] = list(origins[:_ORIGINS_LIMIT])
        path = "/pins" if earlier is None else f"/pins/{quote(earlier.id, safe='')}"
        reply = self._ask("POST", path, document, doing="request the pin")
        return self._checked(reply.document)

    def _wait(self, found: RequestStatus, seconds: float) -> RequestStatus:
        end, pause = self._clock() + seconds, _FIRST_SECONDS
        path = f"/pins/{quote(found.id, safe='')}"
        shown = ""
        while found.status != "pinned":
            if found.status != shown:
                self._changed(found.status)
                shown = found.status
            if found.status == "failed":
                self._fail(found)
            left = end - self._clock()
            if left <= 0:
                raise DeadlineError(
                    f"{self._service.target.host} has not pinned the model yet ({found.status})",
                    hint="The service continues as long as a node has the blocks. Run the command again to "
                    "see its status.",
                )
            self._sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_SECONDS)
            found = self._checked(self._ask("GET", path, doing="ask about the pin").document)
        return found

    def _fail(self, found: RequestStatus) -> None:
        details = f": {found.details}" if found.details else ""
        raise UnavailableError(
            f"{self._service.target.host} could not pin the model{details}",
            hint="It must be able to fetch the blocks from a node: publish with `--to kubo`, too.",
        )

    def _checked(self, document: Any) -> RequestStatus:
        """Check a request as the service states it.

        Raises:
            IntegrityError: It is for another CID.
            UnavailableError: It has not the form of the API.
        """
        host = self._service.target.host
        found: dict[str, Any] = document if isinstance(document, dict) else {}
        pin = found.get("pin")
        identifier, status = found.get("requestid"), found.get("status")
        if not (isinstance(pin, dict) and isinstance(identifier, str) and status in _STATUSES):
            raise self._wrong_form()
        if not is_same_cid(pin.get("cid"), self._tree.root):
            raise IntegrityError(
                f"{host} pins {self._service.said(str(pin.get('cid')))}, not {self._tree.root.text}",
                hint="The service is damaged: use another one.",
            )
        delegates, info = found.get("delegates"), found.get("info")
        details = info.get("status_details") if isinstance(info, dict) else ""
        return RequestStatus(
            identifier,
            status,
            tuple(each for each in delegates if isinstance(each, str)) if isinstance(delegates, list) else (),
            self._service.said(str(details or "")),
        )

    def _wrong_form(self) -> UnavailableError:
        return UnavailableError(
            f"{self._service.target.host} has no Pinning Service API",
            hint="Check the address of --to.",
        )

    def _ask(self, method: str, path: str, document: object = None, *, doing: str) -> Reply:
        data = b"" if document is None else json.dumps(document).encode()
        fields = {"Accept": "application/json", **({"Content-Type": "application/json"} if data else {})}
        outgoing = Outgoing(method, fields, len(data), lambda: [data])
        return self._service.request(path, outgoing, (200, 202), doing=doing)
