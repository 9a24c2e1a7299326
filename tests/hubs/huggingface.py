"""A loopback Hugging Face Hub, as far as clients use it: revisions, refs, trees, and files of commits.

::

    with HuggingFaceHub() as hub:
        repo = hub.add("org/repo", {"config.json": b"{}", "model.safetensors": bytes(2000)})
        repo.commit({"config.json": b"{}"}, branch="main")

Large files, and those with the suffix of weights, are LFS files: their SHA-256 is stated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import unquote

from tests.hubs.server import HubServer, Reply, Request

RepoType = Literal["model", "dataset", "space"]

WEIGHTS = (".safetensors", ".bin", ".gguf", ".onnx", ".pt")
LARGE = 10_000_000


def git_blob(content: bytes) -> str:
    """The git blob id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(content: bytes) -> bytes:
    """The LFS pointer of a file."""
    digest = hashlib.sha256(content).hexdigest()
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (
        digest.encode(),
        len(content),
    )


def is_lfs(path: str, content: bytes) -> bool:
    """Whether a file is stored in LFS."""
    return path.endswith(WEIGHTS) or len(content) > LARGE


def entry_of(path: str, content: bytes, *, lfs: bool | None = None) -> dict[str, Any]:
    """The entry of a file in a tree."""
    if not (is_lfs(path, content) if lfs is None else lfs):
        return {"type": "file", "oid": git_blob(content), "size": len(content), "path": path}
    text = pointer(content)
    stored = {
        "oid": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "pointerSize": len(text),
    }
    return {"type": "file", "oid": git_blob(text), "size": len(content), "lfs": stored, "path": path}


@dataclass
class HubRepo:
    """One repository.

    Attributes:
        id: Its name.
        commits: Files by path, of each commit.
        branches: Commits by name.
        tags: Commits by name.
        facts: More members of the answer for a revision: ``gated``, ``cardData``, ``tags``.
        token: The token that may read it; None for a public one.
        is_gated: Files need the token; the listing does not.
        entries: Entries that replace or extend those of the listing, by path.
    """

    id: str
    type: RepoType
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    is_gated: bool = False
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add a commit with these files, and move a branch to it."""
        seed = repr((self.id, len(self.commits), sorted(files)))
        commit = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.branches[branch] = commit
        return commit

    def find(self, revision: str) -> str | None:
        """The commit of a branch, tag, commit or the beginning of a commit."""
        if found := self.branches.get(revision) or self.tags.get(revision):
            return found
        if len(revision) < 7:
            return None
        return next((commit for commit in self.commits if commit.startswith(revision)), None)

    def tree(self, commit: str, folder: str) -> list[dict[str, Any]]:
        """The entries below a folder."""
        files = self.commits[commit]
        entries = {path: entry_of(path, content) for path, content in files.items()} | self.entries
        folders = {
            "/".join(path.split("/")[:depth]) for path in entries for depth in range(1, path.count("/") + 1)
        }
        for name in folders:
            entries[name] = {"type": "directory", "oid": git_blob(name.encode()), "size": 0, "path": name}
        inside = f"{folder}/" if folder else ""
        return [entries[path] for path in sorted(entries) if path.startswith(inside)]


class HuggingFaceHub(HubServer):
    """The Hub.

    Attributes:
        repos: Repositories by type and lower-case name.
        renamed: New names by old name.
        page_size: Entries of a page.
        cdn: Where LFS files are redirected to; None to serve them here.
    """

    def __init__(self, page_size: int = 1000, cdn: HubServer | None = None) -> None:
        super().__init__()
        self.repos: dict[tuple[str, str], HubRepo] = {}
        self.renamed: dict[str, str] = {}
        self.page_size = page_size
        self.cdn = cdn

    def add(
        self, name: str, files: Mapping[str, bytes], *, kind: RepoType = "model", **facts: Any
    ) -> HubRepo:
        """Add a repository with one commit on ``main``."""
        repo = HubRepo(name, kind, facts=facts)
        repo.commit(files)
        self.repos[kind, name] = repo
        return repo

    def answer(self, request: Request) -> Reply:
        """Route a request."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if parts[0] == "api" and len(parts) > 2 and parts[1] in ("models", "datasets", "spaces"):
            return self._repository(request, parts[1], parts[2:], api=True)
        kind = parts[0] if parts[0] in ("datasets", "spaces") else "models"
        return self._repository(request, kind, parts[kind != "models" :], api=False)

    def _repository(self, request: Request, kind: str, parts: list[str], *, api: bool) -> Reply:
        for length in (2, 1):
            name = "/".join(parts[:length])
            if new := self.renamed.get(name):
                return Reply(307, {"Location": request.target.replace(name, new, 1)})
            if repo := self.repos.get((kind[:-1], name)):
                return self._answer(request, repo, parts[length:], api=api)
        return _missing()

    def _answer(self, request: Request, repo: HubRepo, rest: list[str], *, api: bool) -> Reply:
        is_allowed = repo.token is None or request.token == repo.token
        if request.token and repo.token is not None and not is_allowed:
            message = "Invalid credentials in Authorization header"
            return Reply(401, {"X-Error-Message": message})
        if not is_allowed and not repo.is_gated:
            return _missing()
        if not api and not is_allowed:
            return Reply(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        match rest:
            case ["revision", *revision] if api:
                return self._revision(repo, "/".join(revision))
            case ["refs"] if api:
                return self._refs(repo)
            case ["tree", commit, *folder] if api:
                return self._tree(request, repo, commit, "/".join(folder))
            case [] if api:
                return self._revision(repo, "main")
            case ["resolve", revision, *path] if not api:
                return self._file(request, repo, revision, "/".join(path))
            case _:
                return Reply(404)

    def _revision(self, repo: HubRepo, revision: str) -> Reply:
        commit = repo.find(revision)
        if commit is None:
            return Reply(404, {"X-Error-Code": "RevisionNotFound"})
        files = [{"rfilename": path} for path in repo.commits.get(commit, ())]
        basic = {"id": repo.id, "sha": commit, "private": False, "gated": False, "siblings": files}
        return Reply.json(basic | repo.facts)

    def _refs(self, repo: HubRepo) -> Reply:
        def listed(names: Mapping[str, str], kind: str) -> list[dict[str, str]]:
            return [
                {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
                for name, commit in names.items()
            ]

        return Reply.json(
            {"branches": listed(repo.branches, "heads"), "tags": listed(repo.tags, "tags"), "converts": []}
        )

    def _tree(self, request: Request, repo: HubRepo, revision: str, folder: str) -> Reply:
        commit = repo.find(revision)
        if commit is None or commit not in repo.commits:
            return Reply(404, {"X-Error-Code": "RevisionNotFound"})
        entries = repo.tree(commit, folder)
        if folder and not entries:
            return Reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        start = int(request.query.get("cursor", "0"))
        end = start + self.page_size
        reply = Reply.json(entries[start:end])
        if end < len(entries):
            path = request.path
            following = f"{self.endpoint}{path}?recursive=true&expand=false&cursor={end}"
            return replace(reply, headers=dict(reply.headers) | {"Link": f'<{following}>; rel="next"'})
        return reply

    def _file(self, request: Request, repo: HubRepo, revision: str, path: str) -> Reply:
        commit = repo.find(revision)
        if commit is None or commit not in repo.commits:
            return Reply(404, {"X-Error-Code": "RevisionNotFound"})
        content = repo.commits[commit].get(path)
        if content is None:
            return Reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "Content-Type": "application/octet-stream"}
        if not is_lfs(path, content):
            return self.file(request, content, headers | {"ETag": f'"{git_blob(content)}"'})
        digest = hashlib.sha256(content).hexdigest()
        if self.cdn is None:
            return self.file(request, content, headers | {"ETag": f'"{digest}"'})
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        where = f"{self.cdn.endpoint}/{digest}?Signature=secret"
        return Reply(302, headers | linked | {"Location": where, "ETag": f'"{digest}"'})


class Cdn(HubServer):
    """Serves contents by their SHA-256, as a CDN behind a hub does.

    Attributes:
        contents: Contents by SHA-256.
    """

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, bytes] = {}

    def add(self, content: bytes) -> None:
        """Serve a content."""
        self.contents[hashlib.sha256(content).hexdigest()] = content

    def answer(self, request: Request) -> Reply:
        """Serve a content; its ETag is another value of 64 digits than its SHA-256."""
        content = self.contents.get(request.path.strip("/"))
        if content is None:
            return Reply(404)
        etag = hashlib.sha256(b"another" + content).hexdigest()
        return self.file(request, content, {"ETag": f'"{etag}"'})


def _missing() -> Reply:
    message = "Invalid username or password."
    return Reply(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": message})
