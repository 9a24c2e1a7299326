"""A server with fixed replies by path, as a host of plain files and an IPFS gateway are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tests.hubs.server import HubServer, Reply, Request


@dataclass(frozen=True)
class File(Reply):
    """A reply with a file."""

    ranges: bool = True
    """Whether a requested range is honored."""


class Table(HubServer):
    """Answers from a table; every other path is 404.

    Attributes:
        answers: The reply of each path, as it is percent-encoded in the request.
    """

    def __init__(self, answers: Mapping[str, Reply] | None = None) -> None:
        super().__init__()
        self.answers = dict(answers or {})

    def answer(self, request: Request) -> Reply:
        """Answer from the table."""
        found = self.answers.get(request.path, Reply(404, body=b"not found"))
        if not (isinstance(found, File) and found.ranges):
            return found
        part = self.file(request, found.body, found.headers)
        return replace(found, status=part.status, headers=part.headers, body=part.body)
