"""Where every known host stands: who it is known from, how it fared, and when it would be asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from modelfetch.history import Health, rank
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.probe import Question
from modelfetch.net.urls import host_of, split_credential

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.settings import Settings

EMPTY_CID: Final = "bafkqaaa"
"""No bytes, as an identity CID (multihash 0x00): every gateway has them, and nobody has to look for them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One host of one kind of source."""

    kind: str
    host: str
    known_from: str
    """``settings``, ``catalog``, or ``history`` for one that is named nowhere any more."""
    question: Question | None = None
    """What to ask it to see whether it is there."""
    place: int | None = None
    """When it would be asked among those of its kind, from 1; None when it would not be asked at all."""
    health: Health | None = None

    @property
    def reason(self) -> str:
        """Why it has its place."""
        if self.place is None:
            return "named nowhere any more" if self.known_from == "history" else "its kind is not in use"
        return f"{self.health.status}: {self.health}" if self.health else "not asked yet"


def standings(
    settings: Settings, manifests: Iterable[Manifest], health: Mapping[tuple[str, str], Health]
) -> list[Standing]:
    """List every host, in the order in which kinds and hosts would be asked.

    Args:
        settings: Name mirrors, gateways and the endpoint, and the order of kinds.
        manifests: Name more mirrors, and addresses of files.
        health: How hosts fared.
    """
    named: dict[tuple[str, str], Standing] = {}
    for found in _named(settings, manifests):
        named.setdefault((found.kind, found.host), found)
    listed = [replace(found, health=health.get(key)) for key, found in named.items()]
    used = [each for kind in settings.sources.order for each in _placed(kind, listed)]
    unused = [each for each in listed if each.kind not in settings.sources.order]
    return [*used, *unused, *_forgotten(named, health)]


def _placed(kind: str, listed: Sequence[Standing]) -> Iterator[Standing]:
    measured = {(each.kind, each.host): each.health for each in listed if each.health is not None}
    ordered = rank([each for each in listed if each.kind == kind], measured)
    yield from (replace(each, place=place) for place, each in enumerate(ordered, 1))


def _named(settings: Settings, manifests: Iterable[Manifest]) -> Iterator[Standing]:
    """In the order of settings, then manifests; a host may come several times."""
    for template in settings.sources.mirrors:
        yield _web("mirror", template, "settings")
    for gateway in settings.ipfs.gateways:
        question = Question(f"{gateway}/ipfs/{EMPTY_CID}?format=raw", is_head=False)
        yield Standing("ipfs", host_of(gateway), "settings", question)
    yield _web("huggingface", settings.huggingface.endpoint, "settings")
    for manifest in manifests:
        for template in manifest.mirrors:
            yield _web("mirror", template, "catalog")
        for url in dict.fromkeys(url for file in manifest.files for url in file.urls):
            yield _web("url", url, "catalog")


def _web(kind: str, url: str, known_from: str) -> Standing:
    """A host, and the root of its site as a harmless thing to ask for; credentials stay at home."""
    bare, _ = split_credential(url)
    parts = urlsplit(bare)
    root = urlunsplit((parts.scheme, parts.netloc, "/", "", ""))
    return Standing(kind, host_of(bare), known_from, Question(root))


def _forgotten(
    named: Mapping[tuple[str, str], Standing], health: Mapping[tuple[str, str], Health]
) -> Iterator[Standing]:
    """Hosts that were asked once; an address of this machine with nothing behind it is not worth a line."""
    for (kind, host), found in sorted(health.items()):
        if (kind, host) not in named and not host.startswith(("127.0.0.1:", "[::1]:", "localhost:")):
            yield Standing(kind, host, "history", health=found)
