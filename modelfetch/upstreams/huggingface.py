"""Hugging Face Hub: resolves a repository's branch, tag or commit to a full commit, and lists its files.

::

    GET /api/models/org/repo/revision/main                  {"id": "org/repo", "sha": "<commit>", ...}
    GET /api/models/org/repo/tree/<commit>?recursive=true   1,000 entries; the next page is in "Link"
    GET /api/models/org/repo/revision/main                  again: the branch may have moved meanwhile

Files are listed and read under the commit only. The Hub states the SHA-256 of LFS files; plain files are
small and are read for hashing. A mirror with the same API is used if ``huggingface.endpoint`` names one. The
token is sent to the origin of the endpoint only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote as percent_encode
from urllib.parse import urljoin

from modelfetch.errors import AuthorizationError, SourceError, UnavailableError, UnknownModelError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.manifest import HuggingFaceRepo, RepoType
from modelfetch.model.text import did_you_mean, quote
from modelfetch.net.credentials import Credential
from modelfetch.net.urls import host_of, origin, quote_path
from modelfetch.sources.huggingface import file_url, page_url
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.collect import FileCollector, checked, failure, longest_name, nonsense, select
from modelfetch.upstreams.huggingface_card import stated_license, title_of
from modelfetch.upstreams.huggingface_refusals import (
    Asked,
    disabled,
    no_revision,
    refusal,
    refused_hint,
)
from modelfetch.upstreams.huggingface_tree import file_of
from modelfetch.upstreams.reading import pieces_of

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference, RepoReference
    from modelfetch.net.answers import Answer
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.access import Access

MAX_PLAIN_HTTP: Final = 50 * 10**9
"""Largest file in bytes that the Hub serves over plain HTTP (huggingface_hub, constants.py)."""

_DEFAULT_REVISION: Final = "main"
_LISTINGS: Final = 3
"""Times that the files of a moving branch are listed before giving up."""
_PAGES: Final = 1000
"""Most pages of a listing. The Hub sends 1,000 entries a page, at least 50: at most 400 pages."""
_ENTRIES: Final = 100_000
"""Most entries of a listing: the files of the largest manifest, and more directories than it can have."""
_NAMES: Final = 10_000
"""Most names of branches and tags that are compared."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_ID: Final = re.compile(r"(?!.*\.\.)(?:\w(?:[\w.-]{0,94}\w)?/)?\w(?:[\w.-]{0,94}\w)?", re.ASCII)
"""Names of repositories (huggingface_hub, ``validate_repo_id``)."""
_WHOLE_REF: Final = re.compile(r"refs/(?:pr/[0-9]+|convert/[^/]+)(?=/|\Z)")
"""Revisions with slashes that are in no list of branches."""
_NEXT: Final = re.compile(r"<([^<>]*)>\s*;\s*rel=\"?next\"?", re.IGNORECASE)
"""The next page in ``Link: <url>; rel="next"`` (RFC 8288)."""


@dataclass(frozen=True, slots=True)
class _Revision:
    """The answer for a revision, as far as it is used."""

    sha: str | None = None
    id: str | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class _State:
    """What a revision stands for at one moment."""

    commit: str
    id: str
    is_gated: bool
    license: str
    title: str


class HuggingFace:
    """The Hub, or a mirror of it.

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
        self._paths: frozenset[str] = frozenset()
        self._refused = ""
        """What to do if a file of the listed repository may not be read."""

    @classmethod
    def from_access(cls, access: Access) -> HuggingFace:
        """Use the endpoint of the settings and the user's token."""
        loaded = access.loaded
        token = loaded.hf_token.reveal() if loaded.hf_token is not None else None
        return cls(access.hub, loaded.settings.huggingface.endpoint, token)

    def resolve(self, reference: Reference) -> Listing:
        """See :meth:`modelfetch.upstreams.base.Upstream.resolve`."""
        asked = cast("RepoReference", reference)
        asked, folder = self._without_tail(asked)
        revision = asked.revision or _DEFAULT_REVISION
        state, files, notices = self._listed(asked, revision, folder)
        self._paths = frozenset(file.path for file in files)
        self._refused = refused_hint(self._asked(asked, state.commit), is_gated=state.is_gated)
        files, include = select(files, folder, asked.text)
        repo = HuggingFaceRepo(state.id, state.commit, asked.type)
        if state.id != asked.repo:
            change = "is spelled" if state.id.casefold() == asked.repo.casefold() else "was renamed to"
            notices.insert(0, f"{asked.repo} {change} {state.id}; that name is pinned")
        return Listing(
            reference=replace(asked, repo=state.id, tail=""),
            revision=state.commit,
            files=tuple(self._with_url(file, repo) for file in files),
            stated_by="huggingface",
            name=state.id.rpartition("/")[2],
            kind="dataset" if asked.type == "dataset" else "model",
            license=state.license,
            title=state.title,
            homepage=page_url(self._endpoint, repo),
            huggingface=repo,
            include=include,
            notices=(*notices, *self._notices(state, files, asked)),
            is_gated=state.is_gated,
        )

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """See :meth:`modelfetch.upstreams.base.Upstream.open`.

        Raises:
            UsageError: The file is an LFS pointer or a symbolic link.
        """
        with closing(pieces_of(self._hub, file, self._credential, self._paths, self._refused)) as pieces:
            yield pieces

    def _without_tail(self, asked: RepoReference) -> tuple[RepoReference, str]:
        """Split the end of a page address into revision and folder."""
        if not asked.tail:
            return asked, ""
        whole = f"{asked.revision}/{asked.tail}"
        special = _WHOLE_REF.match(whole)
        names = [*self._names(asked), special[0] if special else ""]
        name = longest_name(whole, names, asked.revision or "")
        return replace(asked, revision=name, tail=""), whole[len(name) :].strip("/")

    def _names(self, asked: RepoReference) -> list[str]:
        """Return the names of all branches and tags."""
        document = self._get(f"{self._api(asked.type, asked.repo)}/refs", asked, "")
        groups = document.values() if isinstance(document, dict) else ()
        entries = [entry for group in groups if isinstance(group, list) for entry in group[:_NAMES]]
        return [
            entry["name"]
            for entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("name"), str)
        ]

    def _listed(
        self, asked: RepoReference, revision: str, folder: str
    ) -> tuple[_State, list[UpstreamFile], list[str]]:
        """List the files of a revision that is the same before and after."""
        state, notices = self._state(asked, revision), list[str]()
        for _ in range(_LISTINGS):
            files = self._files(asked, state, folder)
            after = state if _COMMIT.fullmatch(revision) else self._state(asked, revision)
            if after.commit == state.commit:
                return state, files, notices
            notices.append(
                f"{asked.text}: {quote(revision)} moved from {state.commit[:12]} to {after.commit[:12]} "
                "while it was listed; it was listed again"
            )
            state = after
        raise UnavailableError(
            f"{asked.text}: {quote(revision)} moved {_LISTINGS} times while it was listed",
            hint="Name a commit instead of a branch, or try again later.",
        )

    def _state(self, asked: RepoReference, revision: str) -> _State:
        """Ask what a revision stands for."""
        url = f"{self._api(asked.type, asked.repo)}/revision/{percent_encode(revision, safe='')}"
        try:
            document = self._get(url, asked, revision)
        except UnknownModelError as error:
            raise self._with_guess(error, asked, revision) from error
        found = checked(_Revision, document, f"{self._host}: the answer for {asked.text}")
        details = cast("dict[str, Any]", document)
        if found.disabled:
            raise disabled(self._asked(asked, revision))
        name = found.id or asked.repo
        if not _ID.fullmatch(name):
            raise nonsense(f"{self._host}: the answer for {asked.text} has an invalid name")
        return _State(
            commit=self._commit(found.sha, asked, revision),
            id=name,
            is_gated=bool(details.get("gated")),
            license=stated_license(details),
            title=title_of(details, name),
        )

    def _commit(self, sha: str | None, asked: RepoReference, revision: str) -> str:
        if sha is None or not _COMMIT.fullmatch(sha):
            raise UnavailableError(
                f"{self._host} does not state the commit of {asked.text}, so nothing immutable can be pinned",
                hint="If HF_ENDPOINT names a mirror, its API is incomplete: unset it, or name files by URL.",
            )
        if _COMMIT.fullmatch(revision) and sha != revision:
            raise nonsense(f"{self._host}: asked for commit {revision} of {asked.text}, got {sha}")
        return sha

    def _with_guess(self, error: UnknownModelError, asked: RepoReference, revision: str) -> UnknownModelError:
        """Add the name of the branch or tag that was probably meant."""
        if " has no branch" not in error.message:
            return error
        try:
            guess = did_you_mean(revision, self._names(asked))
        except (AuthorizationError, UnavailableError, UnknownModelError):
            return error
        return no_revision(self._asked(asked, revision), guess)

    def _files(self, asked: RepoReference, state: _State, folder: str) -> list[UpstreamFile]:
        """List the files of a commit, or of a folder in it; of all if the folder is a file."""
        url = f"{self._api(asked.type, state.id)}/tree/{state.commit}"
        query = "?recursive=true&expand=false"
        if folder:
            try:
                return self._tree(f"{url}/{quote_path(folder)}{query}", asked, state.commit)
            except UnknownModelError:
                pass  # the name of a file: the listing of its repository has it
        return self._tree(f"{url}{query}", asked, state.commit)

    def _tree(self, url: str, asked: RepoReference, commit: str) -> list[UpstreamFile]:
        files = FileCollector(asked.text, "Pin a folder of it: use the address of the folder's page.")
        entries, visited = 0, set[str]()
        following: str | None = url
        while following is not None:
            if following in visited or len(visited) >= _PAGES or entries > _ENTRIES:
                raise nonsense(f"{self._host}: the listing of {asked.text} does not end")
            visited.add(following)
            answer, document = self._request(following, asked)
            if answer.headers.get("x-error-code") == "RevisionNotFound":
                raise UnavailableError(
                    f"{self._host} resolves {asked.text} to commit {commit[:12]}, but has no such commit",
                    hint="A forced push can cause this: try again later, or name another revision.",
                )
            if answer.status != 200:
                raise refusal(answer, self._asked(asked, commit))
            if not isinstance(document, list):
                raise nonsense(f"{self._host}: the listing of {asked.text} is not a list")
            entries += len(document)
            for file in filter(None, (file_of(entry, self._host) for entry in document)):
                files.add(file)
            following = self._next_page(answer, following)
        return list(files.finish())

    def _next_page(self, answer: Answer, url: str) -> str | None:
        """Return the address of the next page, if there is one. The credential must not leave the origin."""
        found = _NEXT.search(answer.headers.get("link", ""))
        if found is None:
            return None
        following: str = urljoin(url, found[1])
        try:
            is_same = origin(following) == origin(self._endpoint)
        except ValueError:
            is_same = False
        if not is_same:
            raise nonsense(f"{self._host}: the next page of a listing is on another server")
        return following

    def _get(self, url: str, asked: RepoReference, revision: str) -> object:
        """Request a document.

        Raises:
            ModelfetchError: As the Hub's refusal means.
        """
        answer, document = self._request(url, asked)
        if answer.status != 200:
            raise refusal(answer, self._asked(asked, revision))
        return document

    def _request(self, url: str, asked: RepoReference) -> tuple[Answer, object]:
        try:
            return self._hub.get_json(url, credential=self._credential)
        except SourceError as error:
            raise failure(error, url, f"resolve {asked.text}") from error

    def _asked(self, asked: RepoReference, revision: str) -> Asked:
        page = page_url(self._endpoint, HuggingFaceRepo(asked.repo, "", asked.type))
        return Asked(asked.text, self._host, page, revision, sends_token=self._credential is not None)

    def _api(self, kind: RepoType, repo: str) -> str:
        return f"{self._endpoint}/api/{kind}s/{quote_path(repo)}"

    def _with_url(self, file: UpstreamFile, repo: HuggingFaceRepo) -> UpstreamFile:
        return replace(file, fetch_url=file_url(self._endpoint, repo, file.path))

    def _notices(self, state: _State, files: list[UpstreamFile], asked: RepoReference) -> Iterator[str]:
        if state.is_gated and self._credential is None:
            yield (
                f"{asked.text} is gated: its listing is public, but fetching it requires accepted terms and "
                "a token (HF_TOKEN)"
            )
        for file in files:
            if (file.size or 0) > MAX_PLAIN_HTTP:
                yield (
                    f"{quote(file.path)} has more than 50 GB, which {self._host} does not serve over plain "
                    "HTTP: another source is needed for it"
                )
