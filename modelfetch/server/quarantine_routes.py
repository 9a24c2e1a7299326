"""Routes below ``/v1/quarantine``: list, show, restore and remove data that failed verification.

They do what ``modelfetch quarantine`` does, with one difference: data goes back only to where it was. A
client must not choose a path on the server's disk.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelfetch.errors import UsageError
from modelfetch.keep.quarantine_entries import entry_document, matching
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote
from modelfetch.server.error_responses import Refusal, json_response
from modelfetch.server.requests import parse_empty, read_body

if TYPE_CHECKING:
    from modelfetch.server.runner import ServerWorkspace
    from modelfetch.store import Store
    from modelfetch.store.evidence import Evidence

_ELSEWHERE = "Run `modelfetch quarantine restore ID --to FILE` on the server's machine."


@dataclass(frozen=True, slots=True)
class QuarantineRoutes:
    """Everything below ``/v1/quarantine``."""

    workspace: ServerWorkspace

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/v1/quarantine", self.all, methods=["GET"]),
            Route("/v1/quarantine/{entry_id}", self.one, methods=["GET"]),
            Route("/v1/quarantine/{entry_id}", self.purge, methods=["DELETE"]),
            Route("/v1/quarantine/{entry_id}/restore", self.restore, methods=["POST"]),
        ]

    def all(self, _request: Request) -> Response:
        """List all entries, oldest first."""
        entries = self.workspace.load().store.evidence()
        return json_response({"entries": [entry_document(entry) for entry in entries]})

    def one(self, request: Request) -> Response:
        """Describe one entry."""
        return json_response(entry_document(_find(self.workspace.load().store, request)))

    def purge(self, request: Request) -> Response:
        """Delete an entry and its data."""
        store = self.workspace.load().store
        entry = _find(store, request)
        done = store.reclaimer(store.survey(), dry_run=False).quarantined(entry.key)
        if not done.paths:  # another process is about to fill it
            raise Refusal(HTTPStatus.CONFLICT, "in_use", "another process writes this entry")
        paths = [str(path) for path in done.paths]
        return json_response({"id": entry.digest, "paths": paths, "freed": done.freed})

    async def restore(self, request: Request) -> Response:
        """Move the data of an entry back to where it was."""
        parse_empty(await read_body(request))
        return await run_in_threadpool(self._restore, request)

    def _restore(self, request: Request) -> Response:
        store = self.workspace.load().store
        entry = _find(store, request)
        try:
            place = store.restore(entry, None)
        except UsageError as error:
            raise Refusal(HTTPStatus.CONFLICT, "not_restorable", error.message, _ELSEWHERE) from error
        return json_response({"id": entry.digest, "path": str(place)})


def _find(store: Store, request: Request) -> Evidence:
    """Find the entry that a path names by the start of its id.

    Raises:
        Refusal: There is none, or several.
    """
    word = request.path_params["entry_id"]
    found = matching(store.evidence(), word)
    if not found:
        message = f"no entry has an id that starts with {quote(word)}"
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_entry", message, "GET /v1/quarantine lists them.")
    if len(found) > 1:
        message = f"{len(found)} entries have an id that starts with {quote(word)}"
        raise Refusal(HTTPStatus.CONFLICT, "ambiguous_id", message, "Give more digits.")
    return found[0]
