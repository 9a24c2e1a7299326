"""A trustless IPFS gateway over the files of the cache: it sends blocks that its clients verify.

::

    GET /ipfs/<CID>?format=raw                   one block
    GET /ipfs/<CID>/onnx/model.onnx?format=car   the blocks of a file, and those of the directories on the way

It is not recursive: what is not here is 404, or 412 if the client wants only what is cached. Files themselves
are not served, as a client could not verify them (400). The rules are those of the trustless gateway
specification; see :mod:`modelfetch.ipfs.trustless_request`.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from modelfetch.ipfs.trustless_answer import Answer, answer
from modelfetch.ipfs.trustless_request import RequestError, TrustlessRequest, parse_request
from modelfetch.model.text import sanitize
from modelfetch.server.error_responses import Refusal
from modelfetch.server.request_scope import raw_path
from modelfetch.server.share_responses import SlotResponse, StreamResponse
from modelfetch.share.shared_blocks import OneAnswer

if TYPE_CHECKING:
    from modelfetch.server.share_state import ShareState
    from modelfetch.share.model_index import PinnedFile
    from modelfetch.share.shared_blocks import SharedBlocks
    from modelfetch.share.shared_cache import SharedFile

ENDPOINT: Final = "ipfs"
"""Name in the counters."""
_IS_HERE: Final = "only-if-cached"
"""Value of ``Cache-Control`` that asks whether something is here (RFC 9111, 5.2.1.7)."""


class GatewayRoutes:
    """The routes.

    Args:
        share_state: The state of sharing.
    """

    def __init__(self, share_state: ShareState) -> None:
        self._share_state = share_state
        self._models = share_state.models

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [Route("/ipfs/{content:path}", self.content, methods=["GET"])]

    async def content(self, request: Request) -> Response:
        """Send a block, or a CAR file."""
        try:
            wanted = parse_request(_target(request), ",".join(request.headers.getlist("accept")))
            blocks = await self._share_state.in_thread(self._models.blocks)
            pinned = await self._share_state.in_thread(_file_of, blocks, wanted)
            obtained = None
            # Before a slot is taken: it may be fetched for minutes.
            if pinned is not None and _may_fetch(request):
                obtained = await self._share_state.obtain_whole(request, pinned.manifest, pinned.file)
        except (RequestError, Refusal) as error:
            return _refused(request, error)
        return SlotResponse(
            partial(self._answer, request, wanted, blocks, obtained), self._share_state.outlet
        )

    async def _answer(
        self, request: Request, wanted: TrustlessRequest, blocks: SharedBlocks, obtained: SharedFile | None
    ) -> Response:
        def find_file(sha256: str) -> SharedFile | None:
            # Files that would have to be hashed first are left out: that is done one at a time, by `obtain`.
            found = self._share_state.cache.find_without_hashing(sha256)
            is_obtained = obtained is not None and obtained.sha256 == sha256
            return obtained if found is None and is_obtained else found

        one = OneAnswer(blocks, find_file)
        try:
            found: Answer = await self._share_state.in_thread(answer, wanted, one.find)
        except RequestError as error:
            one.close()
            return _refused(request, error)
        except BaseException:
            one.close()
            raise
        if found.headers["etag"] in _tags(request):
            one.close()
            kept = {name: found.headers[name] for name in ("etag", "cache-control")}
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)
        body = one.limited(found.body)
        return StreamResponse(body, one.close, self._share_state.outlet, ENDPOINT, found.headers)


def _refused(request: Request, error: RequestError | Refusal) -> Response:
    """Make the response of an error: one line of text, as gateways send it."""
    status, headers = error.status, error.headers if isinstance(error, Refusal) else {}
    if status == HTTPStatus.NOT_FOUND and _wants_cached(request):
        status = HTTPStatus.PRECONDITION_FAILED
    return PlainTextResponse(f"{sanitize(str(error))}\n", status, headers)


def _wants_cached(request: Request) -> bool:
    return _IS_HERE in request.headers.get("cache-control", "").lower()


def _may_fetch(request: Request) -> bool:
    """Whether a file that is not here may be fetched: for its bytes, and not only if they are here."""
    return request.method != "HEAD" and not _wants_cached(request)


def _file_of(blocks: SharedBlocks, wanted: TrustlessRequest) -> PinnedFile | None:
    """Return the file that a request is about; None for a directory, or if it is not known."""
    pinned = blocks.pinned(wanted.cid, wanted.path)
    if pinned is None and not wanted.path:
        found = blocks.file_with(wanted.cid, None)
        pinned = found.pinned if found is not None else None
    return pinned


def _target(request: Request) -> str:
    query: bytes = request.scope.get("query_string", b"")
    return f"{raw_path(request)}?{query.decode('latin-1')}"


def _tags(request: Request) -> list[str]:
    return [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
