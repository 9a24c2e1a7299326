"""Publishes on a kubo node through its RPC: the blocks as CAR files, then a pin of the directory.

Files are sent one after the other, small ones together, and the directories last, with a pin. A run that was
interrupted continues::

    pin/ls       the directory is pinned: nothing is left to do
    block/stat   the node has the first block of a file; then
    dag/stat     does it have all? If not, the last leaf that it has is searched by bisection:
                 the blocks of a file are sent depth first, so what it has is a beginning
    dag/import   the rest

The node may have removed blocks meanwhile (``ipfs repo gc``), or have got some from elsewhere. Then the pin
fails, and all files are sent once more, whatever the node says that it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from modelfetch.errors import Fault, IntegrityError, SourceError, UnavailableError
from modelfetch.ipfs.trustless_request import CAR_TYPE
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.outgoing import Outgoing
from modelfetch.net.urls import is_public
from modelfetch.publish.car_stream import CarStream, Part, directory_parts, file_parts
from modelfetch.publish.multipart import FormPart, form
from modelfetch.publish.service import RERUN_HINT, Reply, is_same_cid, message_of

if TYPE_CHECKING:
    from modelfetch.ipfs.cid import Cid
    from modelfetch.publish.model_tree import FileProgress, ModelTree, TreeFile
    from modelfetch.publish.service import Service

GROUP_SIZE: Final = 32 << 20
"""Files are sent together up to this many bytes: a request for each of 20,000 small files takes longer than
sending the bytes of a group again."""
IMPORT_SIZE: Final = 256 << 20
"""Bytes after which a request ends. Proxies may keep a whole request before they pass it on, and the time
without an answer after which a node counts as stalled grows with the size of the request."""
_QUERY_SIZE: Final = 1 << 20
"""Least bytes of a file for which the node is asked what it has of it; smaller ones are sent at once."""
_BISECTION_LEAVES: Final = 16
"""Least leaves of a file for which the position to continue at is searched; fewer are sent again."""
_NODE_SPEED: Final = 50_000_000
"""Bytes per second at which a node reads blocks again before it answers; a hard disk reads about 100 MB/s."""
_CONNECT_LIMIT: Final = 5
"""Most addresses of a service that the node connects to; an attempt takes seconds where nothing answers."""
_ACCEPTED: Final = frozenset({200, 500})
"""Statuses that are no failure of the request: kubo answers 500 to commands that fail, such as a question
about a block that it does not have."""


@dataclass(slots=True)
class NodeResult:
    """What a node had of a model, and what it was sent."""

    is_pinned_already: bool = False
    sent: int = 0
    """Bytes of CAR files that were sent."""
    skipped: int = 0
    """Bytes of files that the node had."""


class Kubo:
    """A kubo node.

    Args:
        service: Sends requests to its RPC.
        tree: The model.
        progress: Called when bytes of a file were sent.
    """

    def __init__(self, service: Service, tree: ModelTree, progress: FileProgress = lambda *_: None) -> None:
        self._service = service
        self._tree = tree
        self._progress = progress
        self._result = NodeResult()

    def addresses(self) -> list[str]:
        """Return the public addresses of the node; also proves that it is one.

        Those of its own network are left out: others cannot use them, and they describe a private network.

        Raises:
            AuthorizationError: The node refused the token.
            UnavailableError: There is no kubo node.
        """
        reply = self._ask("id")
        found = reply.document
        if reply.status != 200 or not isinstance(found.get("ID"), str):
            raise UnavailableError(
                f"{self._service.target.host} is not the RPC of a kubo node",
                hint="Check the address of --to: it must be Addresses.API of the node, not its gateway.",
            )
        given = found.get("Addresses")
        return [each for each in given if _is_public(each)] if isinstance(given, list) else []

    def connect(self, addresses: Sequence[str]) -> None:
        """Let the node connect to others, such as those of a pinning service, which may find it anyway."""
        for address in addresses[:_CONNECT_LIMIT]:
            with suppress(SourceError):
                self._service.send(f"/api/v0/swarm/connect?{urlencode({'arg': address})}", _post(), _ACCEPTED)

    def plan(self) -> NodeResult:
        """Find out what :meth:`publish` would do, by questions alone; raises like that."""
        self.addresses()
        self._result.is_pinned_already = self.is_pinned()
        return self._result

    def is_pinned(self) -> bool:
        """Whether the node has a recursive pin of the model, and so all its blocks."""
        reply = self._ask("pin/ls", arg=self._tree.root.text, type="recursive")
        keys = reply.document.get("Keys")
        return reply.status == 200 and isinstance(keys, dict) and bool(keys)

    def publish(self) -> NodeResult:
        """Send what the node does not have, and pin the directory.

        Raises:
            AuthorizationError: The node refused the token.
            IntegrityError: It stored something else, or a file changed meanwhile.
            UnavailableError: It cannot be reached, or cannot take the model.
            Cancelled: The run was cancelled.
        """
        self.addresses()
        if self.is_pinned():
            self._result.is_pinned_already = True
            return self._result
        self._send_files(skips_present=True)
        if problem := self._pin():
            self._send_files(skips_present=False)
            if problem := self._pin():
                raise UnavailableError(
                    f"{self._service.target.host} has the blocks, but did not pin them: {problem}",
                    hint=RERUN_HINT,
                )
        return self._result

    def _send_files(self, *, skips_present: bool) -> None:
        """Send all files, in groups; if asked, without the blocks that the node has."""
        group: list[Part] = []
        size = 0
        seen: set[bytes] = set()
        for file in self._tree.by_root.values():
            is_queried = skips_present and file.tree.size >= _QUERY_SIZE
            parts = self._missing(file, seen) if is_queried else tuple(file_parts(file, seen))
            group += parts
            size += sum(part.size for part in parts)
            if size >= GROUP_SIZE:
                self._import_all(group)
                group, size = [], 0
        self._import_all(group)

    def _missing(self, file: TreeFile, seen: set[bytes]) -> Sequence[Part]:
        """The blocks of a file that the node does not have."""
        parts = list(file_parts(file, seen))
        if not self._has_block(file.tree.root):
            return parts
        if self._has_all(file):
            self._result.skipped += file.tree.size
            return []
        rest = self._without_imported(parts)
        self._result.skipped += sum(part.length for part in parts) - sum(part.length for part in rest)
        return rest

    def _without_imported(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Leave out the leaves that the node has from an import that was interrupted."""
        leaves = [part.cid for part in parts if not part.node]
        if len(leaves) < _BISECTION_LEAVES:
            return parts
        first, end = 0, len(leaves)
        while first < end:
            middle = (first + end) // 2
            if self._has_block(leaves[middle]):
                first = middle + 1
            else:
                end = middle
        imported = set(leaves[:first])
        return [
            part for part in parts if part.cid not in imported
        ]  # inner nodes are small: all are sent again

    def _has_block(self, cid: Cid) -> bool:
        return self._ask("block/stat", arg=cid.text, offline="true").status == 200

    def _has_all(self, file: TreeFile) -> bool:
        blocks = sum(1 for _ in file_parts(file, set()))
        seconds = file.tree.tsize / _NODE_SPEED
        reply = self._ask("dag/stat", seconds, arg=file.tree.root.text, progress="false", offline="true")
        counts = [count for line in reply.lines for count in _block_counts(line)]
        return reply.status == 200 and max(counts, default=0) >= blocks

    def _import_all(self, parts: Sequence[Part]) -> None:
        """Send blocks, in several requests if they are many."""
        first, size = 0, 0
        for index, part in enumerate(parts):
            size += part.size
            if size >= IMPORT_SIZE or index == len(parts) - 1:
                self._import(parts[first : index + 1])
                first, size = index + 1, 0

    def _import(self, parts: Sequence[Part]) -> None:
        """Send blocks without a pin; leaves that arrived before a failure are not sent again."""
        rest, failures = parts, 0
        while rest and (error := self._import_once(rest)) is not None:
            failures += 1
            self._service.translated("send the blocks", partial(self._service.wait, error, failures))
            left = self._without_imported(rest)
            if len(left) < len(rest):  # it got further, so this counts as the first failure
                rest, failures = left, 1

    def _import_once(self, parts: Sequence[Part]) -> SourceError | None:
        try:
            self._check_import(self._send_car(CarStream(parts[0].cid, parts, self._progress), pin=False))
        except SourceError as error:
            return error
        return None

    def _pin(self) -> str:
        """Send the directories, and pin the root; returns why that failed, or an empty string."""

        def attempt() -> Reply:
            return self._send_car(CarStream(self._tree.root, directory_parts(self._tree)), pin=True)

        return self._pin_failure(self._service.retried("pin the model", attempt))

    def _pin_failure(self, reply: Reply) -> str:
        """Why the node did not pin the root, by its answer to the import of the directories; empty if it did.

        Raises:
            IntegrityError: It pinned another CID.
        """
        roots = [line["Root"] for line in reply.lines if isinstance(line.get("Root"), dict)]
        failure = next(filter(None, map(message_of, reply.lines)), "")
        if reply.status != 200 or failure or not roots:
            return self._service.said(failure) or "it did not say why"
        root = roots[0]
        cid = root["Cid"].get("/") if isinstance(root.get("Cid"), dict) else root.get("Cid")
        if not is_same_cid(cid, self._tree.root):
            raise IntegrityError(
                f"{self._service.target.host} pinned {self._service.said(str(cid))}, not "
                f"{self._tree.root.text}",
                hint="The node, or a proxy before it, is damaged: use another one.",
            )
        return self._service.said(str(root.get("PinErrorMsg") or ""))

    def _check_import(self, reply: Reply) -> None:
        """Check the answer to an import without a pin.

        Raises:
            SourceError: The node reported a failure.
        """
        failure = next(filter(None, map(message_of, reply.lines)), "")
        # A failure after the first byte of the answer is in a trailer alone: then the figures are missing.
        is_whole = any("Stats" in line for line in reply.lines)
        if reply.status != 200 or failure or not is_whole:
            said = self._service.said(failure) or f"its answer ended early ({reply.status})"
            raise SourceError(Fault.SERVER, f"the node could not import them: {said}")

    def _send_car(self, car: CarStream, *, pin: bool) -> Reply:
        query = {"pin-roots": str(pin).lower(), "stats": "true"}
        part = FormPart("file", car.size, car.pieces, "model.car", CAR_TYPE)
        seconds = self._tree.size / _NODE_SPEED if pin else car.size / _NODE_SPEED
        outgoing = form([part], answer_seconds=seconds)
        reply = self._service.send(f"/api/v0/dag/import?{urlencode(query)}", outgoing, _ACCEPTED)
        self._result.sent += car.size
        return reply

    def _ask(self, command: str, seconds: float = 0.0, **query: str) -> Reply:
        path = f"/api/v0/{command}" + (f"?{urlencode(query)}" if query else "")
        return self._service.request(path, _post(seconds), _ACCEPTED, doing="use the kubo node")


def _post(seconds: float = 0.0) -> Outgoing:
    """A command without content; kubo takes no other method."""
    return Outgoing("POST", {"Accept": "application/json"}, answer_seconds=seconds)


def _is_public(address: object) -> bool:
    """Whether a multiaddr, such as ``/ip4/203.0.113.7/tcp/4001``, is one that others can reach."""
    if not isinstance(address, str):
        return False
    _, protocol, host = [*address.split("/", 3), "", "", ""][:3]
    return is_public(host) if protocol in {"ip4", "ip6"} else protocol.startswith("dns")


def _block_counts(line: dict[str, Any]) -> Iterator[int]:
    """The numbers of blocks that an answer to ``dag/stat`` states, in the forms of old and new versions."""
    stats = line.get("DagStats")
    for each in (line, *(stats if isinstance(stats, list) else ())):
        count = each.get("NumBlocks") if isinstance(each, dict) else None
        if isinstance(count, int):
            yield count
