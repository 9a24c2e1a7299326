"""A loopback ModelScope: listings of models and datasets, revisions, and files of branches.

::

    with ModelScopeSite() as site:
        site.add("org/repo", {"config.json": b"{}", "model.safetensors": bytes(2000)})

It has the traits of the real one: a listing is cut at 3,000 entries without a sign, an unknown revision has
the listing ``null``, and errors may come with status 200.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from tests.hubs.server import HubServer, Reply, Request

CUT_AT = 3000


@dataclass
class SiteRepo:
    """One repository.

    Attributes:
        id: Its name.
        revisions: Files by path, of each branch or tag.
        facts: More members of its metadata: ``License``.
        token: The token that may read it; None for a public one.
        entries: Entries that replace or extend those of the listing, by path.
    """

    id: str
    type: Literal["model", "dataset"]
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def listed(self, revision: str, root: str, *, recursive: bool) -> list[dict[str, Any]]:
        """The entries below a directory."""
        entries = {path: entry_of(path, content) for path, content in self.revisions[revision].items()}
        entries |= self.entries
        for path in list(entries):
            for depth in range(1, path.count("/") + 1):
                name = "/".join(path.split("/")[:depth])
                entries[name] = {"Path": name, "Name": name, "Type": "tree", "Size": 0, "Sha256": ""}
        inside = f"{root}/" if root else ""
        found = [path for path in sorted(entries) if path.startswith(inside)]
        return [entries[path] for path in found if recursive or "/" not in path[len(inside) :]]


def entry_of(path: str, content: bytes) -> dict[str, Any]:
    """The entry of a file."""
    return {
        "Path": path,
        "Name": path.rpartition("/")[2],
        "Type": "blob",
        "Size": len(content),
        "Sha256": hashlib.sha256(content).hexdigest(),
        "Revision": "0" * 40,
        "IsLFS": len(content) > 1000,
        "Mode": "33188",
        "CommittedDate": 1_700_000_000,
    }


class ModelScopeSite(HubServer):
    """The site.

    Attributes:
        repos: Repositories by type and name.
        is_odd: Ranges are answered with 200 and a right ``Content-Range``.
        denied_pages: Numbers of pages of datasets, each of which is refused once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.repos: dict[tuple[str, str], SiteRepo] = {}
        self.is_odd = False
        self.denied_pages: list[str] = []

    def add(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        kind: Literal["model", "dataset"] = "model",
        **facts: Any,
    ) -> SiteRepo:
        """Add a repository with the branch ``master``."""
        repo = SiteRepo(name, kind, {"master": dict(files)}, facts=facts)
        self.repos[kind, name] = repo
        return repo

    def answer(self, request: Request) -> Reply:
        """Route a request below ``/api/v1``."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if parts[:2] != ["api", "v1"] or len(parts) < 5:
            return Reply(404)
        repo = self.repos.get((parts[2][:-1], "/".join(parts[3:5])))
        if repo is None:
            return _failure(404, 10010205001, "record not found")
        if repo.token is not None and request.token != repo.token:
            return _failure(401 if request.token else 404, 10010205001, "record not found")
        match parts[5:]:
            case []:
                return _success({"Path": repo.id, "Name": repo.id.rpartition("/")[2]} | repo.facts)
            case ["revisions"]:
                names = [{"Revision": name, "CreatedAt": 1_700_000_000} for name in repo.revisions]
                return _success({"RevisionMap": {"Branches": names, "Tags": None}})
            case ["repo", "files"]:
                return self._files(request, repo)
            case ["repo", "tree"]:
                return self._page(request, repo)
            case ["repo"]:
                return self._file(request, repo)
            case _:
                return Reply(404)

    def _files(self, request: Request, repo: SiteRepo) -> Reply:
        query = request.query
        if query.get("Revision") not in repo.revisions:
            return _success({"Files": None})
        recursive = query.get("Recursive") == "True"
        entries = repo.listed(query["Revision"], query.get("Root", "").strip("/"), recursive=recursive)
        return _success({"Files": entries[:CUT_AT]})

    def _page(self, request: Request, repo: SiteRepo) -> Reply:
        query = request.query
        number, size = int(query.get("PageNumber", "1")), int(query.get("PageSize", "100"))
        if query.get("PageNumber") in self.denied_pages:
            self.denied_pages.remove(query["PageNumber"])
            return Reply(403)
        if query.get("Revision") not in repo.revisions:
            return _success({"Files": None})
        entries = repo.listed(query["Revision"], query.get("Root", "").strip("/"), recursive=True)
        return _success({"Files": entries[(number - 1) * size : number * size], "TotalCount": len(entries)})

    def _file(self, request: Request, repo: SiteRepo) -> Reply:
        query = request.query
        content = repo.revisions.get(query.get("Revision", "master"), {}).get(query.get("FilePath", ""))
        if content is None:
            return _failure(404, 404, "file not found")
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        reply = self.file(request, content, {"ETag": etag, "Content-Type": "application/octet-stream"})
        if self.is_odd and reply.status == 206:
            return Reply(200, reply.headers, reply.body, reply.cut)
        return reply


def _success(data: object) -> Reply:
    return Reply.json({"Code": 200, "Success": True, "Message": "success", "Data": data})


def _failure(status: int, code: int, message: str) -> Reply:
    return Reply.json({"Code": code, "Success": False, "Message": message, "Data": None}, status)
