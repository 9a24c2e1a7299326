"""Publishes through Pinata's own upload: the files of the model in one request, as a directory.

::

    GET  /data/pinList?hashContains=bafy...   it is pinned: nothing is sent
    POST /pinning/pinFileToIPFS               file parts tiny/a.bin, tiny/b/c.bin     IpfsHash, PinSize

Pinata makes the blocks itself, and does not say how. Its CID is therefore compared with the one computed
here. A different CID need not mean different bytes: the trees of other profiles are tried to find out. Nor
can an upload that was cut continue; it is sent again. A directory may have 25 GB.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from modelfetch.errors import Fault, IntegrityError, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.outgoing import Outgoing
from modelfetch.publish.car_stream import file_pieces
from modelfetch.publish.multipart import FormPart, form
from modelfetch.publish.service import is_same_cid

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.publish.model_tree import FileProgress, ModelTree, TreeFile
    from modelfetch.publish.service import Service

_STORE_SPEED: Final = 20_000_000
"""Bytes per second at which Pinata is assumed to make blocks before it answers."""
_ANSWER_SECONDS: Final = 60.0
"""Least time for the answer to an upload."""

OtherProfile = Callable[[object], str]
"""Gets the CID that Pinata stated; returns the name of a profile under which the model has it, or empty."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """How a model was uploaded."""

    is_pinned_already: bool
    sent: int
    """Bytes of files that were sent."""


class Pinata:
    """Pinata.

    Args:
        service: Sends requests.
        tree: The model.
        manifest: Its name and version become those of the pin.
        other_profile: Finds out under which profile the model has another CID.
        progress: Called when bytes of a file were sent.
    """

    def __init__(
        self,
        service: Service,
        tree: ModelTree,
        manifest: Manifest,
        other_profile: OtherProfile,
        progress: FileProgress = lambda *_: None,
    ) -> None:
        self._service = service
        self._tree = tree
        self._manifest = manifest
        self._other_profile = other_profile
        self._progress = progress
        self._sent = 0

    def is_pinned(self) -> bool:
        """Whether Pinata has the directory already.

        Raises:
            AuthorizationError: It refused the key.
            UnavailableError: It cannot be reached.
        """
        return self._service.retried("list pins", self._ask_for_pin)

    def publish(self) -> Uploaded:
        """Upload the model, unless it is pinned.

        Raises:
            AuthorizationError: Pinata refused the key.
            IntegrityError: Pinata's CID is another one, or a file changed meanwhile.
            UnavailableError: It cannot be reached, or cannot take the model.
            Cancelled: The run was cancelled.
        """
        if self.is_pinned():
            return Uploaded(True, 0)
        stated = self._service.translated("upload the model", self._upload)
        if not is_same_cid(stated, self._tree.root):
            raise self._other_cid(stated)
        return Uploaded(False, self._sent)

    def _ask_for_pin(self) -> bool:
        query = {"hashContains": self._tree.root.text, "status": "pinned", "pageLimit": "10"}
        outgoing = Outgoing("GET", {"Accept": "application/json"})
        rows = self._service.send(f"/data/pinList?{urlencode(query)}", outgoing).document.get("rows")
        found = [each for each in rows if isinstance(each, dict)] if isinstance(rows, list) else []
        return any(is_same_cid(each.get("ipfs_pin_hash"), self._tree.root) for each in found)

    def _upload(self) -> object:
        """Send the files until it succeeds; returns the CID that Pinata states."""
        failures = 0
        while True:
            try:
                if failures and self._ask_for_pin():  # only the answer was lost
                    return self._tree.root.text
                return self._send()
            except SourceError as error:
                failures += 1
                self._service.wait(error, failures)

    def _send(self) -> object:
        manifest, profile = self._manifest, self._tree.profile
        metadata = {
            "name": f"{manifest.name}-{manifest.version}",
            "keyvalues": {
                "type": manifest.kind,
                "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
                "identity": manifest.identity,
            },
        }
        settings = {"cidVersion": profile.cid_version, "wrapWithDirectory": False}
        parts = [self._file_part(file) for file in self._tree.files]
        parts.append(FormPart.text("pinataMetadata", json.dumps(metadata)))
        parts.append(FormPart.text("pinataOptions", json.dumps(settings)))
        outgoing = form(parts, answer_seconds=_ANSWER_SECONDS + self._tree.size / _STORE_SPEED)
        found = self._service.send("/pinning/pinFileToIPFS", outgoing).document
        stated = found.get("IpfsHash")
        if not isinstance(stated, str):
            raise SourceError(Fault.PROTOCOL, "did not say what it stored (IpfsHash)")
        return stated

    def _file_part(self, file: TreeFile) -> FormPart:
        name = f"{self._manifest.name}/{file.path}"
        pieces = partial(file_pieces, file, self._count)
        return FormPart("file", file.tree.size, pieces, name, "application/octet-stream")

    def _count(self, path: str, done: int, size: int) -> None:
        self._sent += done if done == size else 0
        self._progress(path, done, size)

    def _other_cid(self, stated: object) -> IntegrityError:
        shown = self._service.said(str(stated))
        message = f"Pinata stored the model as {shown}, not as {self._tree.root.text}"
        if name := self._other_profile(stated):
            return IntegrityError(
                f"{message}: it uses the profile {name}",
                hint=f"Run again with --profile {name}: then both CIDs are the same, and nothing is sent.",
            )
        return IntegrityError(
            f"{message}; whether that is the same content is unknown",
            hint="Publish with `--to kubo`, and let Pinata fetch it: --to https://api.pinata.cloud/psa.",
        )
