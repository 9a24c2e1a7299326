"""Assets of a GitHub release: names, sizes and the SHA-256 that GitHub states for uploads since June 2025.

One request lists a release; only assets in the state ``uploaded`` count::

    GET https://api.github.com/repos/OWNER/NAME/releases/tags/TAG        # or /releases/latest
    {"tag_name": "v1", "assets": [{"name": "model.onnx", "size": 100, "digest": "sha256:...",
     "state": "uploaded", "browser_download_url": "https://github.com/..."}]}

For older assets ``digest`` is null. Then a file ``SHA256SUMS`` among the assets is used if every line of it
is well-formed; otherwise the digest is computed from the bytes. The token goes to the API only. Bytes come
from ``browser_download_url``, which counts against no quota and redirects to a signed address.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NoReturn, cast
from urllib.parse import quote as percent_encode
from urllib.parse import urlsplit

from modelfetch.errors import (
    AuthorizationError,
    Fault,
    SourceError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.addresses import why_bad_url
from modelfetch.model.reference import GithubReference
from modelfetch.model.text import did_you_mean, quote, sanitize
from modelfetch.net.credentials import Credential
from modelfetch.net.hub_client import refused
from modelfetch.net.urls import host_of, is_secure, is_this_machine
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.checksums import SUMS_BYTES, is_sums, parse_sums
from modelfetch.upstreams.collect import checked, failure

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference
    from modelfetch.net.answers import Answer
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.access import Access

API: Final = "https://api.github.com"
"""The API of github.com; GitHub Enterprise has another one, which ``GITHUB_API_URL`` names."""
MAX_ASSETS: Final = 1000
"""Most assets of a release (GitHub's own limit)."""

_ACCEPT: Final = "application/vnd.github+json"
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_TOKEN: Final = "Check the name; if it is private, set GITHUB_TOKEN to a token that may read it."  # noqa: S105 - no token


@dataclass(frozen=True, slots=True)
class _Asset:
    """An asset as the API lists it."""

    name: str
    size: int
    state: str
    browser_download_url: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class _Release:
    """A release as the API describes it; fields that are not listed here are ignored."""

    tag_name: str
    html_url: str
    assets: tuple[_Asset, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class _Tagged:
    """A release in the list of releases."""

    tag_name: str


class Github:
    """Releases of GitHub, or of a GitHub Enterprise server.

    Args:
        hub: Sends the requests.
        api: URL of the API, without a slash at the end.
        token: Sent to the origin of ``api`` only; empty for none.

    Raises:
        UsageError: The API is at plain http on another machine, where the token could be read on the way.
    """

    def __init__(self, hub: HubClient, api: str = API, token: str = "") -> None:
        api = api.rstrip("/")
        if why_bad_url(api) or not (is_secure(api) or is_this_machine(urlsplit(api).hostname or "")):
            raise UsageError("GITHUB_API_URL must be an https address", hint=f"github.com has {API}.")
        self._hub = hub
        self._api = api
        self._credential = Credential.bearer(api, token) if token else None

    @classmethod
    def from_access(cls, access: Access) -> Github:
        """Use ``GITHUB_API_URL`` and ``GITHUB_TOKEN`` of the environment, as GitHub Actions sets them."""
        environ = access.environ
        return cls(access.hub, environ.get("GITHUB_API_URL", "").strip() or API, _token(environ))

    def resolve(self, reference: Reference) -> Listing:
        """List the assets of a release; see :meth:`.Upstream.resolve`."""
        wanted = cast("GithubReference", reference)
        release = self._release(wanted)
        repo, notices = _renamed(wanted.repo, release.html_url)
        assets, incomplete = self._uploaded(wanted, release)
        if incomplete:
            names = ", ".join(map(quote, incomplete[:3]))
            count = "1 asset is" if len(incomplete) == 1 else f"{len(incomplete)} assets are"
            notices.append(f"{count} not uploaded completely and left out: {names}")
        selected = [asset for asset in assets if not wanted.glob or fnmatchcase(asset.name, wanted.glob)]
        if not selected:
            raise _nothing_selected(wanted, assets)
        sums, more = self._sums(selected, assets)
        files = tuple(self._file(asset, sums) for asset in sorted(selected, key=lambda each: each.name))
        return Listing(
            replace(wanted, repo=repo, tag=wanted.tag),
            revision="",  # the tag and the assets of an ordinary release can be replaced
            files=files,
            stated_by="github" if any(file.sha256 for file in files) else "computed",
            name=repo.rpartition("/")[2],
            title=release.name or "",
            homepage=f"https://{self._web_host}/{repo}" if self._web_host else "",
            notices=(*notices, *more),
        )

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        """Open an asset; see :meth:`.Upstream.open`."""
        yield self._pieces(file)

    def _pieces(self, file: UpstreamFile) -> Iterator[bytes]:
        try:
            # Without the token: the address is not part of the API, and redirects to another host.
            yield from self._hub.download(file.fetch_url, file.size or 0)
        except SourceError as error:
            if error.fault is Fault.NOT_FOUND and self._credential is not None:
                raise AuthorizationError(
                    f"cannot read {quote(file.path)}: {host_of(file.fetch_url)} has it not for everyone",
                    hint="Assets of a private repository cannot be pinned; publish them elsewhere.",
                ) from error
            raise failure(error, file.fetch_url, f"read {quote(file.path)}") from error

    # The release

    def _release(self, wanted: GithubReference) -> _Release:
        tail = "latest" if wanted.tag is None else f"tags/{percent_encode(wanted.tag, safe='')}"
        answer, document = self._get(wanted, f"releases/{tail}")
        if answer.status == 404:
            self._explain_missing(wanted)
        if answer.status != 200:
            raise self._refusal(answer, wanted)
        return checked(_Release, document, f"{host_of(self._api)}: the release")

    def _get(self, wanted: GithubReference, tail: str) -> tuple[Answer, object]:
        repo = "/".join(percent_encode(part, safe="") for part in wanted.repo.split("/"))
        url = f"{self._api}/repos/{repo}/{tail}"
        try:
            return self._hub.get_json(url, credential=self._credential, accept=_ACCEPT)
        except SourceError as error:
            # 503 is busy too, but no limit: only these two statuses are (REST documentation, rate limits).
            if error.fault is Fault.BUSY and error.message.endswith(("(403)", "(429)")):
                raise self._limited(wanted, error.retry_after) from error
            raise failure(error, url, f"list the assets of {quote(wanted.text)}") from error

    def _explain_missing(self, wanted: GithubReference) -> NoReturn:
        """Find out whether the repository or only the release is missing; the API answers 404 to both."""
        answer, document = self._get(wanted, "releases?per_page=100")
        if answer.status == 404:
            raise UnknownModelError(
                f"{self._host} has no repository {quote(wanted.repo)}, or it is private", hint=_TOKEN
            )
        if answer.status != 200 or not isinstance(document, list):
            raise self._refusal(answer, wanted)
        what = f"{self._host}: the list of releases"
        tags = [checked(_Tagged, each, what).tag_name for each in document]
        if not tags:
            raise UnknownModelError(
                f"{quote(wanted.repo)} has no release on {self._host}", hint="Pin a file by its URL instead."
            )
        if wanted.tag is None:
            raise UnknownModelError(
                f"{quote(wanted.repo)} has only drafts and pre-releases on {self._host}",
                hint=f"Name one by its tag: gh:{wanted.repo}@{sanitize(tags[0])}.",
            )
        guess = did_you_mean(wanted.tag, tags)
        raise UnknownModelError(
            f"{quote(wanted.repo)} has no release {quote(wanted.tag)} on {self._host}.{guess}",
            hint=f"Its latest releases: {', '.join(map(quote, tags[:5]))}.",
        )

    def _refusal(self, answer: Answer, wanted: GithubReference) -> Exception:
        """Make the error for an answer that is neither 200 nor 404."""
        if answer.status == 401:
            return AuthorizationError(
                f"{self._host} refused the token in GITHUB_TOKEN (401)",
                hint="Renew the token, or remove it: public releases need none.",
            )
        # Without the field Date the time until the reset is unknown, so the client did not see a rate limit.
        if answer.status in (403, 429) and answer.headers.get("x-ratelimit-remaining", "").strip() == "0":
            return self._limited(wanted, None, answer.headers.get("x-ratelimit-reset", ""))
        if answer.status == 451:
            return AuthorizationError(
                f"{quote(wanted.repo)} is disabled on {self._host} for legal reasons (451)"
            )
        return failure(refused(answer), self._api, f"list the assets of {quote(wanted.text)}", refused=_TOKEN)

    def _limited(self, wanted: GithubReference, seconds: float | None, reset: str = "") -> UnavailableError:
        """Make the error for a rate limit, with the time of its end if that was stated."""
        ending = ""
        if seconds is not None:
            ending = f"; it ends in {max(1, round(seconds / 60))} min"
        elif re.fullmatch(r"[0-9]{1,11}", reset):
            ending = f"; it ends at {datetime.fromtimestamp(int(reset), UTC):%H:%M} UTC"
        hint = "Try again then."
        if self._credential is None:
            hint = "Set GITHUB_TOKEN: with a token it is 5,000 requests an hour instead of 60."
        return UnavailableError(
            f"cannot list {quote(wanted.text)}: the rate limit of {self._host} is reached{ending}",
            hint=hint,
        )

    # Its assets

    def _uploaded(self, wanted: GithubReference, release: _Release) -> tuple[list[_Asset], list[str]]:
        """Check the assets; returns those that were uploaded completely, and the names of the others."""
        what = f"the release {quote(release.tag_name)} of {quote(wanted.repo)}"
        if len(release.assets) > MAX_ASSETS:
            raise UnavailableError(f"{what} lists more than {MAX_ASSETS} assets, which GitHub does not allow")
        names = [asset.name for asset in release.assets]
        if len(set(names)) < len(names) or any("/" in name or not name for name in names):
            raise UnavailableError(f"{what} lists an asset twice, or one with an invalid name")
        uploaded = [asset for asset in release.assets if asset.state == "uploaded"]
        for asset in uploaded:
            if not self._is_own_address(asset.browser_download_url):
                raise UnavailableError(f"{what} lists {quote(asset.name)} at an address that is not GitHub's")
        return uploaded, [asset.name for asset in release.assets if asset.state != "uploaded"]

    def _is_own_address(self, url: str) -> bool:
        """Whether an address belongs to the server of the API; only such an address is pinned."""
        if why_bad_url(url):
            return False
        own, found = urlsplit(self._api), urlsplit(url)
        host = "github.com" if self._api == API else own.netloc
        return found.scheme == own.scheme and found.netloc == host

    def _file(self, asset: _Asset, sums: Mapping[str, str]) -> UpstreamFile:
        url = asset.browser_download_url
        return UpstreamFile(
            asset.name, asset.size, _stated(asset) or sums.get(asset.name), fetch_url=url, urls=(url,)
        )

    def _sums(
        self, selected: Sequence[_Asset], assets: Sequence[_Asset]
    ) -> tuple[Mapping[str, str], tuple[str, ...]]:
        """Read the file of checksums if a selected asset has no stated digest; returns notices too."""
        missing = [asset.name for asset in selected if not _stated(asset)]
        source = next((asset for asset in assets if is_sums(asset.name)), None)
        if source is None or not missing or missing == [source.name]:
            return {}, ()
        if source.size > SUMS_BYTES:
            return {}, (f"{quote(source.name)} was not used: it has {source.size} bytes",)
        file = self._file(source, {})
        content = b"".join(self._pieces(file))
        try:
            _check_sums(source, content)
            sums = parse_sums(content)
        except ValueError as error:
            return {}, (f"{quote(source.name)} was not used: {error}",)
        found = sum(name in sums for name in missing)
        if not found:
            return {}, ()
        return sums, (f"the digests of {found} files were read from {quote(source.name)} of the release",)

    @property
    def _host(self) -> str:
        return self._web_host or host_of(self._api)

    @property
    def _web_host(self) -> str:
        return "github.com" if self._api == API else ""


def _check_sums(source: _Asset, content: bytes) -> None:
    """Raise ValueError if a file of checksums is not the one that the API describes."""
    if len(content) != source.size:
        raise ValueError(f"it has {len(content)} bytes instead of {source.size}")
    stated = _stated(source)
    if stated and stated != hashlib.sha256(content).hexdigest():
        raise ValueError("its bytes do not have the digest that GitHub states")


def _stated(asset: _Asset) -> str | None:
    """The SHA-256 that the API states for an asset; None for none, or for a digest of another kind."""
    match = _DIGEST.fullmatch(asset.digest or "")
    return match[1] if match else None


def _token(environ: Mapping[str, str]) -> str:
    """The token of the environment; one that cannot be a header field is left out."""
    token = environ.get("GITHUB_TOKEN", "").strip()
    return token if re.fullmatch(r"[!-~]+", token) else ""


def _renamed(repo: str, html_url: str) -> tuple[str, list[str]]:
    """The name of the repository as the answer spells it, and a notice if that is another one."""
    match = re.search(r"//[^/]+/([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)/releases/", html_url)
    found = match[1] if match else repo
    if found.casefold() == repo.casefold():
        return found, []
    return found, [f"{repo} was renamed to {found}"]


def _nothing_selected(wanted: GithubReference, assets: Sequence[_Asset]) -> UsageError:
    if not assets:
        return UsageError(
            f"the release that {quote(wanted.text)} names has no assets",
            hint="Its source code archives have no stable digest; name a file by its URL instead.",
        )
    names = ", ".join(quote(asset.name) for asset in assets[:5]) + (", ..." if len(assets) > 5 else "")
    return UsageError(
        f"no asset matches {quote(wanted.glob)} in {quote(wanted.text)}", hint=f"Its assets are: {names}."
    )
