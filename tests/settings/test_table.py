"""The table of settings: it agrees with values, reference page and contract, and checks every form."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints
from urllib.parse import urlsplit

import pytest

from modelfetch.model.source_kinds import SourceKind
from modelfetch.settings import SETTINGS, Setting, Settings, shown
from modelfetch.settings.table import BY_NAME, ENVIRONMENT, RUN_SETTINGS
from modelfetch.settings.types import Choice, TomlValue, Value
from modelfetch.settings.values import build

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"

CONTRACT = [
    "sources.order",
    "sources.mirrors",
    "sources.peers",
    "sources.local",
    "ipfs.gateways",
    "huggingface.endpoint",
    "modelscope.endpoint",
    "network.files",
    "network.connections",
    "network.connect_timeout",
    "network.stall_timeout",
    "network.min_speed",
    "network.limit_rate",
    "retry.attempts",
    "retry.base",
    "retry.cap",
    "retry.retry_after_cap",
    "cache.fsync",
    "cache.partial_days",
    "cache.quarantine_days",
    "cache.version_days",
    "cache.warn_size",
    "cache.max_age_days",
    "cache.stale_days",
    "cache.chunk_maps",
    "history.days",
    "lan.enabled",
    "swarm.enabled",
    "swarm.port",
    "swarm.trackers",
    "swarm.peers",
    "swarm.upload_rate",
    "swarm.readers",
    "serve.jobs",
    "serve.share_clients",
    "serve.share_rate",
]

FOREIGN = [
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HOME",
    "HF_HUB_CACHE",
    "MODELSCOPE_ENDPOINT",
    "MODELSCOPE_API_TOKEN",
    "GITHUB_TOKEN",
    "GITHUB_API_URL",
    "OLLAMA_MODELS",
    "XDG_CACHE_HOME",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "NO_COLOR",
    "CI",
]

DEAD = [
    "cloudflare-ipfs.com",
    "cf-ipfs.com",
    "hardbin.com",
    "ipfs.runfission.com",
    "ipfs.eth.aragon.network",
    "dlunar.net",
    "flk-ipfs.xyz",
    "w3s.link",
    "nftstorage.link",
    "storacha.link",
    "ipfs.io",
    "dweb.link",
]


def defaults() -> Settings:
    return build({setting.name: setting.default for setting in SETTINGS})


def toml(value: TomlValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case _:
            return str(value)


def row(setting: Setting) -> str:
    """The row that the reference page must have; copy it there from a failing test."""
    names = "<br>".join(f"`{name}`" for name in (setting.name, setting.variable, setting.flag) if name)
    meaning = setting.meaning + (" No effect yet." if setting.is_idle else "")
    cells = (names, setting.form.expected, f"`{toml(setting.toml_default)}`", meaning, setting.reason)
    return f"| {' | '.join(cells)} |"


def test_the_table_has_exactly_the_settings_of_the_contract() -> None:
    assert [setting.name for setting in SETTINGS] == CONTRACT


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = defaults()
    assert settings.sources.order == tuple(SourceKind)
    assert settings.sources.mirrors == settings.sources.peers == ()
    assert settings.huggingface.endpoint == "https://huggingface.co"
    network, retry, cache = settings.network, settings.retry, settings.cache
    assert (network.files, network.connections, network.connect_timeout, network.stall_timeout) == (
        4,
        4,
        10,
        30,
    )
    assert (network.min_speed, network.limit_rate) == (1024, None)
    assert (retry.attempts, retry.base, retry.cap, retry.retry_after_cap) == (5, 0.5, 30, 300)
    assert (cache.fsync, cache.partial_days, cache.quarantine_days, cache.version_days) == (True, 7, 7, 90)
    assert (cache.warn_size, cache.max_age_days, cache.stale_days) == (20 * 1024**3, 90, 7)
    assert cache.chunk_maps == "auto"
    assert settings.history.days == 30
    assert settings.lan.enabled is False
    swarm = settings.swarm
    assert (swarm.enabled, swarm.port, swarm.trackers, swarm.peers) == (False, 6881, (), ())
    assert (swarm.upload_rate, swarm.readers) == (None, 2)
    assert settings.serve.jobs == 2


def test_values_and_table_have_the_same_names() -> None:
    sections = get_type_hints(Settings)
    assert all(is_dataclass(kind) for kind in sections.values())
    names = [f"{section}.{field.name}" for section, kind in sections.items() for field in fields(kind)]
    assert names == [setting.name for setting in SETTINGS]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_values_have_the_types_their_dataclasses_promise(setting: Setting) -> None:
    promised = get_type_hints(get_type_hints(Settings)[setting.section])[setting.key]
    value = defaults().value(setting.name)
    if isinstance(setting.form, Choice):
        assert value in get_args(promised) == setting.form.choices
        return
    kinds = {bool: bool, int: int, float: float, str: str, int | None: int | None, tuple[str, ...]: tuple}
    assert isinstance(value, kinds[promised])


@pytest.mark.parametrize("setting", [*SETTINGS, *RUN_SETTINGS], ids=lambda setting: setting.name)
def test_the_reference_page_has_every_setting_as_it_is(setting: Setting) -> None:
    assert row(setting) in PAGE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("variable", [*ENVIRONMENT, *FOREIGN])
def test_the_reference_page_has_every_variable(variable: str) -> None:
    assert f"`{variable}`" in PAGE.read_text(encoding="utf-8") or f"${variable}" in PAGE.read_text(
        encoding="utf-8"
    )


def test_the_reference_page_describes_the_variables_of_modelfetch() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{variable}` | {meaning} |" in page for variable, meaning in ENVIRONMENT.items())


@pytest.mark.parametrize(
    ("reach", "rule"), [("never", "ignored"), ("at most", "at most"), ("at least", "at least")]
)
def test_the_reference_page_lists_what_a_project_may_not_set(reach: str, rule: str) -> None:
    page = PAGE.read_text(encoding="utf-8").partition("| settings | in a project's file |")[2]
    rows = [row.split(" | ") for row in page.partition("\n\n")[0].splitlines()]
    [names] = [cells[0] for cells in rows if cells[-1].startswith(rule)]
    listed = re.findall(r"`([^`]+)`", names)
    limited = {
        setting.name for setting in SETTINGS if {setting.name, f"[{setting.section}]"}.intersection(listed)
    }
    assert limited == {setting.name for setting in SETTINGS if setting.project == reach}


def test_default_gateways_are_independent_and_none_is_dead() -> None:
    hosts = [urlsplit(gateway).hostname or "" for gateway in defaults().ipfs.gateways]
    operators = {".".join(host.split(".")[-2:]) for host in hosts}
    assert len(operators) == len(hosts) >= 2
    assert not set(hosts) & set(DEAD)


TRACKERS = ("udp://t.example:6969", "https://t.example/announce")
MACHINES = ("10.0.0.7:6881", "host.example:1", "[fe80::1]:65535")

GOOD: Mapping[str, list[tuple[object, Value]]] = {
    "network.files": [(1, 1), (64, 64)],
    "network.connect_timeout": [(1, 1.0), (0.25, 0.25), (86400, 86400.0)],
    "network.min_speed": [(0, 0), ("1 KiB", 1024), ("2k/s", 2000)],
    "network.limit_rate": [("none", None), ("NONE", None), (0, None), ("0", None), ("8M", 8_000_000), (1, 1)],
    "retry.retry_after_cap": [(0, 0.0)],
    "cache.fsync": [(False, False)],
    "cache.partial_days": [(0, 0)],
    "cache.warn_size": [("1.5 GB", 1_500_000_000), (0, 0)],
    "cache.chunk_maps": [("auto", "auto"), ("always", "always"), ("never", "never")],
    "sources.order": [(["url"], ("url",)), (["ipfs", "local", "ipfs"], ("ipfs", "local"))],
    "sources.mirrors": [([], ()), (["https://a.example/{sha256}"], ("https://a.example/{sha256}",))],
    "ipfs.gateways": [
        ([], ()),
        (["https://a.example/ipfs/", "https://a.example"], ("https://a.example",)),
        (["http://127.0.0.1:8080"], ("http://127.0.0.1:8080",)),
    ],
    "modelscope.endpoint": [("https://www.modelscope.ai/", "https://www.modelscope.ai")],
    "huggingface.endpoint": [("https://hf.example.org/mirror/", "https://hf.example.org/mirror")],
    "swarm.port": [(0, 0), (65535, 65535)],
    "swarm.trackers": [
        (["udp://t.example:6969", "https://t.example/announce"], TRACKERS),
    ],
    "swarm.peers": [([*MACHINES], MACHINES)],
}


@pytest.mark.parametrize(
    ("name", "raw", "value"), [(name, *case) for name, cases in GOOD.items() for case in cases]
)
def test_good_values_are_accepted(name: str, raw: object, value: Value) -> None:
    taken = BY_NAME[name].form.validate(raw)
    assert (taken, type(taken)) == (value, type(value))


BAD: Mapping[str, list[object]] = {
    "swarm.port": [-1, 65536],
    "swarm.readers": [0],
    "swarm.trackers": [
        ["udp://t.example"],
        ["udp://t.example:0"],
        ["udp://u:p@t.example:1"],
        ["wss://t.example"],
        ["t.example:6969"],
    ],
    "swarm.peers": [["10.0.0.7"], ["10.0.0.7:0"], ["10.0.0.7:65536"], ["http://a:1"], ["::1:5"], ["a b:1"]],
    "network.files": [0, 65, 4.0, True, "four", [], {}, 10**400, dt.date(2026, 1, 1)],
    "network.connect_timeout": [0, -1, float("nan"), float("inf"), 10**400, True, "10", None],
    "network.min_speed": [-1, 1.5, True, "fast", "-1", 2**63, ""],
    "network.limit_rate": [-1, "unlimited", False, ["8M"]],
    "retry.retry_after_cap": [-0.1],
    "cache.fsync": [1, "true", None],
    "cache.partial_days": [-1, 1.5],
    "cache.warn_size": ["20 gigs", 10**400],
    "cache.chunk_maps": ["", "alway", "Auto", True, ["auto"], None],
    "sources.order": [[], "local", ["hf"], ["local", 1], {"local": 1}],
    "sources.mirrors": [
        "https://a.example/{path}",
        ["https://a.example/"],
        ["https://a.example/{file}"],
        [1],
    ],
    "ipfs.gateways": [
        ["ftp://a.example"],
        ["a.example"],
        ["https://u:p@a.example"],
        ["https://a.example?x=1"],
        ["https://{name}.example"],
        ["https://a example"],
        ["https://"],
        ["https://a.example:99999"],
    ],
    "huggingface.endpoint": [
        "",
        "hf.example.org",
        ["https://a.example"],
        "https://a.example/#x",
        "file:///etc",
    ],
}


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(("name", "raw"), [(name, case) for name, cases in BAD.items() for case in cases])
def test_bad_values_are_refused_with_a_short_reason(name: str, raw: object) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        BY_NAME[name].form.validate(raw)
    assert len(str(caught.value)) < 250


def test_a_misspelled_kind_of_source_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="Did you mean 'huggingface'"):
        BY_NAME["sources.order"].form.validate(["hugingface"])


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_shown_values_can_be_set_again(setting: Setting) -> None:
    """The text of ``config show`` is what ``config set`` reads, for every default."""
    assert setting.form.validate(setting.form.from_text(shown(setting.default))) == setting.default


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("TRUE", True), ("on", True), ("no", False), ("0", False), ("off", False)],
)
def test_yes_and_no_are_read_from_text(text: str, *, value: bool) -> None:
    form = BY_NAME["lan.enabled"].form
    assert form.validate(form.from_text(text)) is value


def test_lists_are_read_from_text() -> None:
    form = BY_NAME["sources.order"].form
    assert form.validate(form.from_text(" url , local,,")) == ("url", "local")
    assert BY_NAME["ipfs.gateways"].form.from_text("none") == []
