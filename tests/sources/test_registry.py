"""The table of sources has every active kind, in the order of the kinds."""

from __future__ import annotations

from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.source_kinds import SourceKind
from modelfetch.settings import SETTINGS
from modelfetch.settings.values import build
from modelfetch.sources.base import HostAddress
from modelfetch.sources.registry import ROWS, source_classes

SETTINGS_WITH_SECRET = build(
    {setting.name: setting.default for setting in SETTINGS}
    | {"sources.mirrors": ("https://user:secret@a.example/{path}?key=secret",)}
)


def test_each_active_kind_has_one_class() -> None:
    assert [source.kind for source in source_classes()] == list(SourceKind)


def test_each_row_names_the_kind_of_its_class() -> None:
    assert [row.load().kind for row in ROWS] == [row.kind for row in ROWS]


def test_a_known_host_is_asked_without_a_secret() -> None:
    hosts = [host for source in source_classes() for host in source.configured_hosts(SETTINGS_WITH_SECRET)]
    assert hosts[0] == HostAddress("https://a.example/")
    assert not [host for host in hosts if "secret" in host.url]


def test_a_manifest_that_names_no_source_has_no_hosts() -> None:
    manifest = Manifest("m", "1", (FileSpec("a", 1, "0" * 64),))
    assert [host for source in source_classes() for host in source.manifest_hosts(manifest)] == []
