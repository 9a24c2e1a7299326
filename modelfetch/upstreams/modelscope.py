"""ModelScope: lists the files of a repository at a branch or tag, with the SHA-256 of each.

::

    GET /api/v1/models/org/repo/repo/files?Revision=master&Recursive=True
    {"Code": 200, "Success": true, "Data": {"Files": [{"Path", "Type", "Size", "Sha256", ...}]}}

The API differs from others in what it does not say. A listing is cut at 3,000 entries without a sign, so that
one of exactly that length is replaced by listings of each directory. An unknown revision is no error but a
listing ``null``. Errors may come with status 200. Commits cannot be addressed reliably: the name of the
branch is kept, and the digests decide. The default branch is ``master``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlencode

from modelfetch.errors import AuthorizationError, SourceError, UnavailableError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.manifest import ModelScopeRepo
from modelfetch.model.paths import DEPTH
from modelfetch.model.text import did_you_mean, quote, visible
from modelfetch.net.credentials import Credential
from modelfetch.net.urls import host_of, quote_path
from modelfetch.sources.modelscope import contents_url
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.collect import FileCollector, checked, failure, longest_name, nonsense, select
from modelfetch.upstreams.licenses import license_of
from modelfetch.upstreams.modelscope_answers import MsAsked, data_of
from modelfetch.upstreams.reading import pieces_of

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference, RepoReference
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.access import Access

CUT_AT: Final = 3000
"""Entries at which the API silently cuts a listing (modelscope_hub, constants.py)."""

_DEFAULT_REVISION: Final = "master"
_PAGE_SIZE: Final = 200
"""Entries of a page of a dataset's listing."""
_REQUESTS: Final = 1000
"""Most requests for one listing: a dataset of 20,000 files needs 100, a model one for each directory."""
_LISTING_ATTEMPTS: Final = 4
"""Attempts for a listing that is refused at random although others were readable (modelscope_hub)."""
_NO_FILES: Final = frozenset({"120000", "40960", "160000", "57344"})
"""Git modes of symbolic links and submodules, in octal and decimal digits."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a listing; the names are the keys of the API."""

    Path: str
    Type: str = "blob"
    Size: int | None = None
    Sha256: str | None = None


class ModelScope:
    """The ModelScope site that the settings name.

    Args:
        hub: Client for requests.
        endpoint: Base address.
        token: Access token; sent to the origin of the endpoint only.
    """

    def __init__(self, hub: HubClient, endpoint: str, token: str | None) -> None:
        self._hub = hub
        self._endpoint = endpoint.rstrip("/")
        self._host = host_of(self._endpoint)
        self._credential = Credential.bearer(self._endpoint, token) if token else None
        self._requests = 0
        self._is_readable = False
        self._paths: frozenset[str] = frozenset()

    @classmethod
    def from_access(cls, access: Access) -> ModelScope:
        """Use the endpoint of the settings and the user's token."""
        loaded = access.loaded
        token = loaded.ms_token.reveal() if loaded.ms_token is not None else None
        return cls(access.hub, loaded.settings.modelscope.endpoint, token)

    def resolve(self, reference: Reference) -> Listing:
        """See :meth:`modelfetch.upstreams.base.Upstream.resolve`."""
        asked = cast("RepoReference", reference)
        if asked.type == "space":
            raise UsageError(
                f"{asked.text} cannot be pinned: only models and datasets of ModelScope can be",
                hint="Name the model: ms:ORG/REPO, or the dataset: ms:datasets/ORG/REPO.",
            )
        self._requests, self._is_readable = 0, False
        asked, folder = self._without_tail(asked)
        kind: Literal["model", "dataset"] = "dataset" if asked.type == "dataset" else "model"
        repo = ModelScopeRepo(asked.repo, asked.revision or _DEFAULT_REVISION, kind)
        files = self._files(asked, repo)
        self._paths = frozenset(file.path for file in files)
        files, include = select(files, folder, asked.text)
        details = self._details(asked)
        name = asked.repo.rpartition("/")[2]
        title = details.get("ChineseName") or details.get("Name")
        return Listing(
            reference=asked,
            revision="",
            files=tuple(
                replace(file, fetch_url=contents_url(self._endpoint, repo, file.path)) for file in files
            ),
            stated_by="modelscope",
            name=name,
            kind=kind,
            license=license_of(details.get("License")),
            title=visible(title).strip()[:200] if isinstance(title, str) and title.strip() else name,
            homepage=f"{self._endpoint}/{kind}s/{asked.repo}",
            modelscope=repo,
            include=include,
        )

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """See :meth:`modelfetch.upstreams.base.Upstream.open`.

        Raises:
            UsageError: The file is an LFS pointer or a symbolic link.
        """
        refused = "If the repository is private or gated, set MODELSCOPE_API_TOKEN."
        with closing(pieces_of(self._hub, file, self._credential, self._paths, refused)) as pieces:
            yield pieces

    def _without_tail(self, asked: RepoReference) -> tuple[RepoReference, str]:
        """Split the end of a page address into revision and folder."""
        if not asked.tail:
            return asked, ""
        whole = f"{asked.revision}/{asked.tail}"
        name = longest_name(whole, self._names(asked), asked.revision or "")
        return replace(asked, revision=name, tail=""), whole[len(name) :].strip("/")

    def _files(self, asked: RepoReference, repo: ModelScopeRepo) -> list[UpstreamFile]:
        hint = "Pin a part of it from another source, or name files by URL."
        files = FileCollector(asked.text, hint)
        entries = self._pages(asked, repo) if repo.type == "dataset" else self._tree(asked, repo, "")
        for file in filter(None, map(self._file_of, entries)):
            files.add(file)
        if not len(files):
            raise UnknownModelError(
                f"{asked.text} has no files at {quote(repo.revision)}",
                hint="Name another branch or tag: ms:ORG/REPO@BRANCH.",
            )
        return list(files.finish())

    def _file_of(self, document: object) -> UpstreamFile | None:
        """Return the file of an entry; None for a directory."""
        entry = checked(_Entry, document, f"{self._host}: an entry of the listing")
        mode = str(cast("dict[str, object]", document).get("Mode", ""))
        if entry.Type == "tree":
            return None
        if entry.Type != "blob" or mode in _NO_FILES:
            raise UsageError(
                f"{quote(entry.Path)} is a symbolic link or a submodule, which cannot be pinned",
                hint="Pin the repository from another hub, or name its files by URL.",
            )
        sha256 = (entry.Sha256 or "").lower()
        return UpstreamFile(entry.Path, entry.Size, sha256 if _SHA256.fullmatch(sha256) else None)

    def _tree(
        self, asked: RepoReference, repo: ModelScopeRepo, root: str, depth: int = 0
    ) -> Iterator[object]:
        """Yield all entries below a directory of a model; of each directory alone where a listing is cut."""
        if depth > DEPTH:
            raise nonsense(f"{self._host}: the directories of {asked.text} do not end")
        entries = self._entries(asked, repo, {"Recursive": "True", "Root": root}, "files")
        if len(entries) < CUT_AT:
            yield from entries
            return
        entries = self._entries(asked, repo, {"Recursive": "False", "Root": root}, "files")
        if len(entries) >= CUT_AT:
            raise UsageError(
                f"{asked.text} cannot be listed in full: {self._host} lists at most {CUT_AT} entries of "
                f"{quote(root or '/')}",
                hint="Pin it from another hub, or name its files by URL.",
            )
        yield from entries
        for entry in entries:
            found = checked(_Entry, entry, f"{self._host}: an entry of the listing")
            if found.Type == "tree":
                if not found.Path.startswith(f"{root}/" if root else "") or found.Path == root:
                    raise nonsense(f"{self._host} lists {quote(found.Path)} in {quote(root)}")
                yield from self._tree(asked, repo, found.Path, depth + 1)

    def _pages(self, asked: RepoReference, repo: ModelScopeRepo) -> Iterator[object]:
        """Yield all entries of a dataset, whose listing has pages; the first short one is the last."""
        number, before, entries = 1, list[object](), self._page(asked, repo, 1)
        while True:
            yield from entries
            if len(entries) < _PAGE_SIZE:
                return
            number, before, entries = number + 1, entries, self._page(asked, repo, number + 1)
            if entries == before:
                raise nonsense(f"{self._host} sends the same page of {asked.text} again and again")

    def _page(self, asked: RepoReference, repo: ModelScopeRepo, number: int) -> list[object]:
        query = {"Recursive": "True", "Root": "/", "PageNumber": str(number), "PageSize": str(_PAGE_SIZE)}
        return self._entries(asked, repo, query, "tree")

    def _entries(
        self, asked: RepoReference, repo: ModelScopeRepo, query: dict[str, str], what: str
    ) -> list[object]:
        """Request one listing."""
        query = {"Revision": repo.revision, **{key: text for key, text in query.items() if text}}
        data = self._part(f"{self._api(asked)}/repo/{what}?{urlencode(query)}", asked)
        self._is_readable = True
        files = data.get("Files") if isinstance(data, dict) else data
        if files is None:
            self._check_revision(asked, repo.revision)
            return []
        if not isinstance(files, list):
            raise nonsense(f"{self._host}: the listing of {asked.text} is not a list")
        return files

    def _part(self, url: str, asked: RepoReference) -> object:
        """Request a part of a listing. A refusal is believed only until another part was readable."""
        failures = 0
        while True:
            try:
                return self._get(url, asked)
            except AuthorizationError as error:
                failures += 1
                if not self._is_readable:
                    raise
                if failures >= _LISTING_ATTEMPTS:
                    raise UnavailableError(
                        f"{self._host} refused a part of the listing of {asked.text} {failures} times, "
                        "although it sent other parts",
                        hint="Try again later.",
                    ) from error

    def _check_revision(self, asked: RepoReference, revision: str) -> None:
        """Raise UnknownModelError unless a revision exists: the listing of an unknown one is no error."""
        names = self._names(asked)
        if revision not in names:
            raise UnknownModelError(
                f"{asked.text} has no branch or tag {quote(revision)}.{did_you_mean(revision, names)}",
                hint=f"ModelScope addresses no commits; the default branch is {_DEFAULT_REVISION}.",
            )

    def _names(self, asked: RepoReference) -> list[str]:
        """Return the names of all branches and tags."""
        data = self._get(f"{self._api(asked)}/revisions", asked)
        groups = data.get("RevisionMap") if isinstance(data, dict) else None
        lists = [groups.get(key) for key in ("Branches", "Tags")] if isinstance(groups, dict) else []
        entries = [entry for group in lists if isinstance(group, list) for entry in group]
        names = (entry.get("Revision") for entry in entries if isinstance(entry, dict))
        return [name for name in names if isinstance(name, str)]

    def _details(self, asked: RepoReference) -> dict[str, Any]:
        """Return the metadata of a repository; empty if it cannot be read, since only words depend on it."""
        try:
            data = self._get(self._api(asked), asked)
        except (UnavailableError, UnknownModelError, AuthorizationError):
            return {}
        return data if isinstance(data, dict) else {}

    def _get(self, url: str, asked: RepoReference) -> object:
        """Request a document and return its ``Data``."""
        self._requests += 1
        if self._requests > _REQUESTS:
            raise UnavailableError(
                f"{self._host}: listing {asked.text} needs more than {_REQUESTS} requests",
                hint="Pin it from another hub.",
            )
        try:
            answer, document = self._hub.get_json(url, credential=self._credential)
        except SourceError as error:
            raise failure(error, url, f"resolve {asked.text}") from error
        words = MsAsked(asked.text, self._host, sends_token=self._credential is not None)
        return data_of(answer.status, document, words)

    def _api(self, asked: RepoReference) -> str:
        return f"{self._endpoint}/api/v1/{asked.type}s/{quote_path(asked.repo)}"
