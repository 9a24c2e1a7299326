"""Every known host of settings, catalogs and history, in the order in which they are tried."""

from __future__ import annotations

from typing import Any

from modelfetch.engine.known_hosts import KnownHost, known_hosts
from modelfetch.history.health import measure
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.probe import Question
from modelfetch.settings import SETTINGS, Settings
from modelfetch.settings.values import build
from tests.history.material import NOW, attempt, failure

MANIFEST = Manifest(
    "m",
    "1",
    (FileSpec("a", 1, "0" * 64, urls=("https://files.example:8443/a", "https://b.example/a")),),
    mirrors=("https://b.example/{path}", "https://c.example/{path}"),
)


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {setting.name: setting.default for setting in SETTINGS}
    named = {
        "sources.mirrors": ("https://user:secret@a.example/{path}?key=secret", "https://b.example/{path}"),
        "ipfs.gateways": ("https://g.example", "http://127.0.0.1:8080"),
        "huggingface.endpoint": "https://hf.example/base",
    }
    return build(values | named | {name.replace("__", "."): value for name, value in changes.items()})


def facts(found: list[KnownHost]) -> list[tuple[str, str, int | None, str]]:
    return [(each.kind, each.host, each.position, each.known_from) for each in found]


def test_hosts_come_from_settings_and_catalogs_in_the_order_of_kinds() -> None:
    assert facts(known_hosts(settings(), [MANIFEST], {})) == [
        ("mirror", "a.example", 1, "settings"),
        ("mirror", "b.example", 2, "settings"),
        ("mirror", "c.example", 3, "catalog"),
        ("ipfs", "g.example", 1, "settings"),
        ("ipfs", "127.0.0.1:8080", 2, "settings"),
        ("huggingface", "hf.example", 1, "settings"),
        ("modelscope", "modelscope.cn", 1, "settings"),
        ("url", "files.example:8443", 1, "catalog"),
        ("url", "b.example", 2, "catalog"),
    ]


def test_health_orders_within_a_kind_and_never_across() -> None:
    health = measure([*[failure(host="a.example")] * 5, attempt(host="c.example")], NOW)
    found = known_hosts(settings(), [MANIFEST], health)
    assert [each.host for each in found if each.kind == "mirror"] == ["b.example", "c.example", "a.example"]
    assert list(dict.fromkeys(each.kind for each in found)) == [
        "mirror",
        "ipfs",
        "huggingface",
        "modelscope",
        "url",
    ]
    reasons = {each.host: each.reason for each in found if each.kind == "mirror"}
    assert reasons == {
        "a.example": "unhealthy: 0 % of 5 tries",
        "b.example": "not tried yet",
        "c.example": "healthy: 100 % of 1 try, first byte 100 ms, 1.00 MB/s",
    }


def test_a_peer_without_an_attempt_was_perhaps_asked() -> None:
    """Each run asks it whether it has a file; whether it is off, refuses, or has nothing is not kept."""
    [peer, *_] = known_hosts(settings(sources__peers=("nas",), sources__order=("peer",)), [], {})
    assert (peer.kind, peer.reason) == ("peer", "nothing fetched from it yet")


def test_a_kind_that_is_not_in_use_has_no_position() -> None:
    found = known_hosts(settings(sources__order=("url", "ipfs")), [MANIFEST], {})
    assert [each.kind for each in found[:4]] == ["url", "url", "ipfs", "ipfs"]
    assert {each.reason for each in found[4:]} == {"its kind is not in use"}
    assert {each.position for each in found[4:]} == {None}


def test_hosts_of_the_history_are_listed_but_not_those_of_this_machine() -> None:
    rows = [attempt(host="old.example"), attempt(host="127.0.0.1:40001"), attempt(host="[::1]:40002")]
    assert [
        (each.host, each.reason)
        for each in known_hosts(settings(), [], measure(rows, NOW))
        if not each.position
    ] == [("old.example", "no longer configured")]


def test_a_peer_that_was_found_before_was_not_configured() -> None:
    """One that is off now would otherwise be looked for in the settings."""
    health = measure([attempt(source="peer", host="192.0.2.7:8765")], NOW)
    [peer] = [each for each in known_hosts(settings(), [], health) if each.kind == "peer"]
    assert (peer.reason, peer.known_from) == ("not found now", "history")


def test_a_configured_node_of_this_machine_is_listed() -> None:
    health = measure([attempt(source="ipfs", host="127.0.0.1:8080")], NOW)
    [node] = [each for each in known_hosts(settings(), [], health) if each.host == "127.0.0.1:8080"]
    assert (node.health is not None, node.known_from) == (True, "settings")


def test_what_is_asked_is_harmless_and_has_no_secret() -> None:
    questions = {each.host: each.question for each in known_hosts(settings(), [MANIFEST], {})}
    assert questions["a.example"] == Question("https://a.example/")
    assert questions["files.example:8443"] == Question("https://files.example:8443/")
    assert questions["hf.example"] == Question("https://hf.example/")
    assert questions["g.example"] == Question("https://g.example/ipfs/bafkqaaa?format=raw", is_head=False)
