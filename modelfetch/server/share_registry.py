"""The read API of a registry: container tools and mirrors of registries pull models from this cache.

The rules are those of the OCI distribution specification 1.1::

    GET /v2/                                     this is a registry
    GET /v2/whisper-base/manifests/latest        the artifact of a model, by tag or digest
    GET /v2/whisper-base/blobs/sha256:...        a file, or a small document
    GET /v2/whisper-base/tags/list               tags of one repository; there is no list of repositories

A repository has the name of a model, or the path of the registry's repository that its manifest names, also
with the registry in front, as caches of several registries name it::

    GET /v2/ghcr.io/org/model/manifests/v1       pinned when it is asked for, with serve --pin-on-demand

As a mirror, containerd adds the registry that it is a mirror of (``?ns=``). Then only models of that registry
are found, and no tags: what a tag means is decided by the registry alone, whose manifest has another digest
than the one that is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelfetch.model.registry_documents import OCI_MANIFEST
from modelfetch.server.error_responses import Refusal, json_response
from modelfetch.server.file_response import IMMUTABLE
from modelfetch.server.request_scope import segments
from modelfetch.server.share_responses import CHANGING, DocumentResponse
from modelfetch.share import registry_artifacts
from modelfetch.share.on_demand import artifact
from modelfetch.share.registry_artifacts import Artifacts, Document, sha256_of

if TYPE_CHECKING:
    from modelfetch.server.share_state import ShareState
    from modelfetch.share.model_index import PinnedFile, RegistryRepo

ENDPOINT: Final = "registry"
"""Name in the counters."""
VERSION: Final = {"docker-distribution-api-version": "registry/2.0"}
"""Older clients of Docker expect it on every answer."""
_ACCEPTED: Final = frozenset({OCI_MANIFEST, "application/*", "*/*"})
_CODES: Final[dict[int, str]] = {
    HTTPStatus.NOT_FOUND: "BLOB_UNKNOWN",
    HTTPStatus.TOO_MANY_REQUESTS: "TOOMANYREQUESTS",
    HTTPStatus.SERVICE_UNAVAILABLE: "TOOMANYREQUESTS",
}
"""Codes of the specification for refusals by status; what it does not foresee is UNKNOWN, as elsewhere."""
_COUNT_DIGITS: Final = 6
"""Digits of ``n`` at most; a longer number is a mistake."""


class RegistryError(Exception):
    """An error of the specification."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def _unknown(code: str, what: str) -> RegistryError:
    return RegistryError(HTTPStatus.NOT_FOUND, code, f"{what} unknown to registry")


class RegistryRoutes:
    """The routes.

    Args:
        share_state: The state of sharing.
    """

    def __init__(self, share_state: ShareState) -> None:
        self._share_state = share_state
        self._models = share_state.models
        self._artifacts = Artifacts()

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [Route("/v2/{item:path}", self.answer, methods=["GET"])]

    async def answer(self, request: Request) -> Response:
        """Answer any request below ``/v2/``."""
        try:
            return await self._answer(request)
        except RegistryError as error:
            document, headers = registry_artifacts.error(error.code, str(error)), dict[str, str]()
            response = json_response(document, error.status)
        except Refusal as refusal:
            is_missing = refusal.status == HTTPStatus.NOT_FOUND
            message = "blob unknown to registry" if is_missing else refusal.message
            code = _CODES.get(refusal.status, "UNKNOWN")
            response = json_response(registry_artifacts.error(code, message), refusal.status)
            headers = refusal.headers
        response.headers.update({**VERSION, **headers})
        return response

    async def _answer(self, request: Request) -> Response:
        try:
            names = segments(request)[1:]
        except ValueError:
            raise _unknown("NAME_UNKNOWN", "repository name") from None
        if names == [""]:
            return self._document(b"{}", {"cache-control": CHANGING})
        if len(names) < 3:
            raise _unknown("NAME_UNKNOWN", "repository name")
        name, verb, reference = "/".join(names[:-2]), names[-2], names[-1]
        registry = request.query_params.get("ns", "")
        if verb == "manifests":
            return await self._manifest(request, name, registry, reference)
        repo = await self._share_state.in_thread(self._find, name, registry)
        match verb:
            case "blobs":
                return await self._blob(request, repo, reference)
            case "tags" if reference == "list" and not registry:
                return await self._tags(request, repo)
        raise _unknown("NAME_UNKNOWN", "repository name")

    def _find(self, name: str, registry: str) -> RegistryRepo:
        repo = self._models.current().registry_repo(name, registry)
        repo = repo or self._models.current(missed=True).registry_repo(name, registry)
        if repo is None:
            raise _unknown("NAME_UNKNOWN", "repository name")
        return repo

    async def _manifest(self, request: Request, name: str, registry: str, reference: str) -> Response:
        if not _accepts_manifest(request):
            raise _unknown("MANIFEST_UNKNOWN", f"manifest of another type than {OCI_MANIFEST} is")
        try:
            found = await self._share_state.in_thread(self._find_manifest, name, registry, reference)
        except RegistryError:
            wanted = None if registry else artifact(name, reference)
            if wanted is None or not await self._share_state.pin(request, wanted):
                raise
            found = await self._share_state.in_thread(self._find_manifest, name, registry, reference)
        is_digest = sha256_of(reference) is not None
        return self._sent(found, {"cache-control": IMMUTABLE if is_digest else CHANGING})

    def _find_manifest(self, name: str, registry: str, reference: str, *, missed: bool = False) -> Document:
        repo = self._models.current(missed=missed).registry_repo(name, registry)
        found = self._artifacts.manifest(repo, reference, tags=not registry) if repo is not None else None
        if found is not None:
            return found
        if not missed:  # it may have been added a moment ago
            return self._find_manifest(name, registry, reference, missed=True)
        if repo is None:
            raise _unknown("NAME_UNKNOWN", "repository name")
        raise _unknown("MANIFEST_UNKNOWN", "manifest")

    async def _blob(self, request: Request, repo: RegistryRepo, reference: str) -> Response:
        found = await self._share_state.in_thread(self._artifacts.blob, repo, reference)
        if found is None:
            raise _unknown("BLOB_UNKNOWN", "blob")
        if isinstance(found, Document):
            return self._sent(found, {"cache-control": IMMUTABLE})
        return await self._file(request, found)

    async def _file(self, request: Request, pinned: PinnedFile) -> Response:
        found = await self._share_state.obtain(request, pinned.manifest, pinned.file)
        headers = {**VERSION, "docker-content-digest": f"sha256:{found.sha256}"}
        return self._share_state.response(found, ENDPOINT, headers)

    async def _tags(self, request: Request, repo: RegistryRepo) -> Response:
        tags = await self._share_state.in_thread(self._artifacts.tags, repo)
        count, last = request.query_params.get("n"), request.query_params.get("last", "")
        if count is not None and not (count.isascii() and count.isdecimal() and len(count) <= _COUNT_DIGITS):
            raise RegistryError(HTTPStatus.BAD_REQUEST, "UNSUPPORTED", "n is not a number")
        page = registry_artifacts.page(tags, last, None if count is None else int(count))
        response = json_response({"name": repo.name, "tags": page})
        response.headers.update({**VERSION, "cache-control": CHANGING})
        return response

    def _sent(self, document: Document, headers: Mapping[str, str]) -> Response:
        named = {
            "docker-content-digest": f"sha256:{document.sha256}",
            "etag": f'"sha256:{document.sha256}"',
            **headers,
        }
        return self._document(document.content, named, document.media_type)

    def _document(
        self, content: bytes, headers: Mapping[str, str], media_type: str = "application/json"
    ) -> Response:
        return DocumentResponse(
            content, self._share_state.outlet, ENDPOINT, media_type, {**VERSION, **headers}
        )


def _accepts_manifest(request: Request) -> bool:
    """Whether a client takes an OCI manifest. One that names no type at all takes what there is."""
    types = [item for value in request.headers.getlist("accept") for item in value.split(",")]
    return not types or any(item.partition(";")[0].strip().lower() in _ACCEPTED for item in types)
