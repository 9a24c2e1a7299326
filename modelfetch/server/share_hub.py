"""The shape of Hugging Face: with ``HF_ENDPOINT`` set to this server, its clients use this cache.

::

    GET /org/repo/resolve/main/config.json                  a file; datasets/ and spaces/ before the name
    GET /api/models/org/repo/revision/main                  commit and files
    GET /api/models/org/repo/tree/main/onnx?recursive=true  files with sizes and digests
    GET /api/models/org/repo/refs                           the branch main
    POST /api/models/org/repo/paths-info/main               some files, which the body names

A revision is ``main``, a commit, or the branch or tag that the model was pinned from. The name of a model is
a repository, too: ``/whisper-base/resolve/main/config.json``. Only what is named exactly is found; there is
no search. Errors have the headers of the Hub, by which clients tell whether a repository or a file is
missing::

    HTTP/1.1 404 Not Found
    X-Error-Code: EntryNotFound
    X-Error-Message: Entry not found

A token that a client sends is not read.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.reference import RepoReference
from modelfetch.server.error_responses import Refusal, json_response
from modelfetch.server.file_response import IMMUTABLE
from modelfetch.server.request_scope import segments
from modelfetch.server.requests import read_body
from modelfetch.server.share_responses import CHANGING, DocumentResponse
from modelfetch.share import hub_documents
from modelfetch.share.model_index import HubRepo, Snapshot
from modelfetch.share.on_demand import MAIN
from modelfetch.share.recent_documents import RecentDocuments

if TYPE_CHECKING:
    from modelfetch.model.manifest import RepoType
    from modelfetch.server.share_state import ShareState

ENDPOINT: Final = "huggingface"
"""Name in the counters."""

_TYPES: Final[dict[str, RepoType]] = {"models": "model", "datasets": "dataset", "spaces": "space"}
_RESOLVE: Final = "resolve"
_VERBS: Final = frozenset({"revision", "tree", "refs"})
_PATHS_LIMIT: Final = 2000
"""Paths of a query at most; a body has room for 8,000 short ones, and each is looked up in a thread."""
_NAME_PARTS: Final = 2
"""Parts of the name of a repository at most."""


class HubError(Exception):
    """What the Hub would answer with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        """``RepoNotFound``, ``RevisionNotFound``, ``EntryNotFound`` or empty."""


_NO_REPO: Final = "No manifest of this cache pins this repository"
_NO_REVISION: Final = "This cache does not have this revision"
_NO_ENTRY: Final = "No manifest of this cache pins this file"


@dataclass(frozen=True, slots=True)
class HubPath:
    """What a path names."""

    type: RepoType
    name: str
    verb: str = ""
    """``resolve``, or a verb of the API; empty for the repository itself."""
    revision: str = MAIN
    path: str = ""
    """Of a file or folder; without a slash at its end."""

    @property
    def reference(self) -> RepoReference:
        """The reference to pin."""
        return RepoReference("hf", self.name, None if self.revision == MAIN else self.revision, self.type)


class HubRoutes:
    """The routes.

    Args:
        share_state: The state of sharing.
    """

    def __init__(self, share_state: ShareState) -> None:
        self._share_state = share_state
        self._models = share_state.models
        self._recent = RecentDocuments()

    def routes(self) -> list[BaseRoute]:
        """Return the routes. The pattern of files is general, so it must come after all others."""
        return [
            *(
                Route(f"/api/{each}/{{repo:path}}/paths-info/{{revision}}", self.paths, methods=["POST"])
                for each in _TYPES
            ),
            *(Route(f"/api/{each}/{{repo:path}}", self.document, methods=["GET"]) for each in _TYPES),
            Route("/{name}/resolve/{file:path}", self.file, methods=["GET"]),
            Route("/{owner}/{repo}/resolve/{file:path}", self.file, methods=["GET"]),
            Route("/{type}/{owner}/{repo}/resolve/{file:path}", self.file, methods=["GET"]),
        ]

    async def file(self, request: Request) -> Response:
        """Send a file."""
        try:
            asked = parse_file(_names(request))
            _, snapshot = await self._snapshot(request, asked)
            pinned = await self._share_state.in_thread(snapshot.file, asked.path)
            if pinned is None:
                raise HubError(HTTPStatus.NOT_FOUND, "EntryNotFound", _NO_ENTRY)
            found = await self._share_state.obtain(request, pinned.manifest, pinned.file)
        except HubError as error:
            return _response(error)
        except Refusal as refusal:
            return _refused(refusal)
        headers = hub_documents.file_headers(snapshot, asked.path, pinned.file)
        headers["cache-control"] = _caching(asked, snapshot)
        return self._share_state.response(found, ENDPOINT, headers)

    async def document(self, request: Request) -> Response:
        """Send a document of the API."""
        try:
            asked = parse_api(_names(request))
            repo, snapshot = await self._snapshot(request, asked)
            content = await self._share_state.in_thread(self._document, request, asked, repo, snapshot)
        except HubError as error:
            return _response(error)
        except Refusal as refusal:
            return _refused(refusal)
        # Never immutable, not even at a commit: which files are listed changes with what is here.
        headers = {"cache-control": CHANGING, "x-repo-commit": snapshot.commit}
        return DocumentResponse(content, self._share_state.outlet, ENDPOINT, headers=headers)

    async def paths(self, request: Request) -> Response:
        """Describe the files that the body names."""
        try:
            asked = parse_paths(_names(request))
            body = await read_body(request)
            _, snapshot = await self._snapshot(request, asked)
            content = await self._share_state.in_thread(self._entries, body, snapshot)
        except HubError as error:
            return _response(error)
        except Refusal as refusal:
            return _refused(refusal)
        return DocumentResponse(
            content, self._share_state.outlet, ENDPOINT, headers={"cache-control": CHANGING}
        )

    def _entries(self, body: bytes, snapshot: Snapshot) -> bytes:
        files = snapshot.listing(absent=self._share_state.fetches)
        return _dumps(hub_documents.paths_info(files, _paths_of(body)))

    def _document(self, request: Request, asked: HubPath, repo: HubRepo, snapshot: Snapshot) -> bytes:
        flags = _is_set(request, "recursive"), _is_set(request, "blobs")
        key = snapshot, asked.verb, asked.path, flags
        return self._recent.get(key, lambda: self._make(asked, repo, snapshot, *flags))

    def _make(
        self, asked: HubPath, repo: HubRepo, snapshot: Snapshot, is_recursive: bool, has_blobs: bool
    ) -> bytes:
        """Make a document of the API."""
        if asked.verb == "refs":
            branch = {"name": MAIN, "ref": f"refs/heads/{MAIN}", "targetCommit": snapshot.commit}
            return _dumps({"branches": [branch], "converts": [], "tags": []})
        files = snapshot.listing(absent=self._share_state.fetches)
        if asked.verb == "tree":
            entries = hub_documents.tree(files, asked.path, recursive=is_recursive)
            if entries is None:
                raise HubError(HTTPStatus.NOT_FOUND, "EntryNotFound", _NO_ENTRY)
            return _dumps(entries)
        return _dumps(hub_documents.info(repo, snapshot, files, blobs=has_blobs))

    async def _snapshot(self, request: Request, asked: HubPath) -> tuple[HubRepo, Snapshot]:
        """Find a revision of a repository.

        Raises:
            HubError: No manifest pins it.
        """
        repo, snapshot = await self._share_state.in_thread(self._find, asked, False)
        if snapshot is None and await self._share_state.pin(request, asked.reference):
            repo, snapshot = await self._share_state.in_thread(self._find, asked, True)
        if repo is None:
            raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", _NO_REPO)
        if snapshot is None:
            raise HubError(HTTPStatus.NOT_FOUND, "RevisionNotFound", _NO_REVISION)
        return repo, snapshot

    def _find(self, asked: HubPath, is_new: bool) -> tuple[HubRepo | None, Snapshot | None]:
        repo = self._models.current(missed=is_new).hub_repo(asked.type, asked.name)
        snapshot = repo.resolve(asked.revision) if repo is not None else None
        if snapshot is None and not is_new:  # it may have been added a moment ago
            return self._find(asked, True)
        return repo, snapshot


def parse_file(names: list[str]) -> HubPath:
    """Parse the path of a file: ``[TYPE/]NAME/resolve/REV/PATH``.

    Raises:
        HubError: It is no such path.
    """
    kind: RepoType = "model"
    if names[0] in ("datasets", "spaces") and names[1] != _RESOLVE:
        kind, names = _TYPES[names[0]], names[1:]
    at = names.index(_RESOLVE, 1) if _RESOLVE in names[1 : _NAME_PARTS + 1] else 0
    revision, path = names[at + 1 : at + 2], "/".join(names[at + 2 :])
    if not at or not path:
        raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", _NO_REPO)
    return HubPath(kind, "/".join(names[:at]), _RESOLVE, revision[0], path)


def parse_api(names: list[str]) -> HubPath:
    """Parse a path of the API: ``api/TYPEs/NAME[/VERB[/REV[/PATH]]]``.

    Raises:
        HubError: It is no such path.
    """
    kind, rest = _type_of(names), names[2:]
    if 0 < len(rest) <= _NAME_PARTS and rest[-1] not in _VERBS:
        return HubPath(kind, "/".join(rest))
    for count in range(_NAME_PARTS, 0, -1):
        if len(rest) > count and rest[count] in _VERBS:
            name, verb, tail = "/".join(rest[:count]), rest[count], rest[count + 1 :]
            if verb == "refs" and not tail:
                return HubPath(kind, name, verb)
            if tail and (verb == "tree" or len(tail) == 1):
                return HubPath(kind, name, verb, tail[0], "/".join(tail[1:]).removesuffix("/"))
    raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", _NO_REPO)


def parse_paths(names: list[str]) -> HubPath:
    """Parse the path of a query for files: ``api/TYPEs/NAME/paths-info/REV``.

    Raises:
        HubError: It is no such path.
    """
    kind, name = _type_of(names), names[2:-2]
    if not 0 < len(name) <= _NAME_PARTS:
        raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", _NO_REPO)
    return HubPath(kind, "/".join(name), "paths-info", names[-1])


def _type_of(names: list[str]) -> RepoType:
    """Return the type of repository that a path of the API names.

    Routes see the decoded path, so ``/api%2Fmodels/NAME`` leads here as well.

    Raises:
        HubError: It names none.
    """
    if len(names) > 1 and names[0] == "api" and names[1] in _TYPES:
        return _TYPES[names[1]]
    raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", _NO_REPO)


def _paths_of(body: bytes) -> list[str]:
    """Return the paths that a body names: a form, or JSON, as other clients send it.

    Raises:
        HubError: It is neither, or names too many.
    """
    try:
        if body.lstrip().startswith(b"{"):
            found = json.loads(body).get("paths", [])
            paths = [path for path in found if isinstance(path, str)] if isinstance(found, list) else []
        else:
            paths = [value for name, value in parse_qsl(body.decode()) if name == "paths"]
    except (ValueError, RecursionError):  # deep nesting exhausts the parser's stack
        raise HubError(HTTPStatus.BAD_REQUEST, "", "The body is not a query for paths") from None
    if len(paths) > _PATHS_LIMIT:
        raise HubError(HTTPStatus.BAD_REQUEST, "", f"A query has {_PATHS_LIMIT} paths at most")
    return paths


def _names(request: Request) -> list[str]:
    try:
        return segments(request)
    except ValueError:
        raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", _NO_REPO) from None


def _is_set(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("1", "true")


def _caching(asked: HubPath, snapshot: Snapshot) -> str:
    return IMMUTABLE if asked.revision == snapshot.commit else CHANGING


def _dumps(document: object) -> bytes:
    # ASCII: names of files cannot do anything to a terminal then.
    return json.dumps(document, separators=(",", ":")).encode()


def _response(error: HubError) -> Response:
    """Make the response of an error. Its texts are constants: nothing of a request gets into a header.

    There is no ``X-Repo-Commit``: clients would remember that the repository has no such file at this commit,
    but a manifest may pin some of its files only.
    """
    response = json_response({"error": str(error)}, error.status)
    response.headers["x-error-message"] = str(error)
    if error.code:
        response.headers["x-error-code"] = error.code
    return response


def _refused(refusal: Refusal) -> Response:
    """Make the response of a refusal; a file that is not here is an entry that is not found."""
    if refusal.status == HTTPStatus.NOT_FOUND:
        return _response(HubError(refusal.status, "EntryNotFound", "This file is not in this cache"))
    response = _response(HubError(refusal.status, "", refusal.message))
    response.headers.update(refusal.headers)
    return response
