"""Each layer of a host broken in turn, with real servers: the layer that fails is named."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modelfetch.doctor.findings import Finding, State
from modelfetch.doctor.host_checks import check_hosts
from modelfetch.doctor.host_findings import host_findings
from modelfetch.net.host_layers import LayerProbe
from modelfetch.workspace import Workspace
from tests.origin import Origin, Proxy, faults, model, refusing_port
from tests.origin.certificates import Authority
from tests.origin.channel import Channel
from tests.origin.listener import Listener
from tests.patience import HELD

LAYERS = ["dns", "tcp", "proxy", "tls", "http", "clock", "ranges", "speed"]
NAME = "models.example"
SECRET = "s3cr3t-canary"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass
class Scene:
    """One host, the Hugging Face endpoint, and a way to diagnose it."""

    home: Path
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack
    authority: Authority

    def origin(self, **options: Any) -> Origin:
        origin = self.stack.enter_context(Origin(**options))
        model(origin, {"big.bin": 300_000, "small": 1}, name="m", catalog=self.home / "catalog")
        return origin

    def secure(self, host: str = "127.0.0.1", *, expired: bool = False) -> Origin:
        return self.origin(tls=self.authority.server(host, expired=expired))

    def trust(self) -> None:
        self.monkeypatch.setenv("SSL_CERT_FILE", str(self.authority.write(self.home / "ca.pem")))

    def proxy(self, variable: str, origin: Origin, **options: Any) -> Proxy:
        port = int(origin.endpoint.rpartition(":")[2])
        proxy = self.stack.enter_context(Proxy(to=port, **options))
        self.monkeypatch.setenv(variable, proxy.url)
        return proxy

    def diagnose(
        self, endpoint: str, name: str = "", seconds: float = 20.0, **probe: Any
    ) -> dict[str, Finding]:
        environ = {
            "HOME": str(self.home),
            "MODELFETCH_CACHE_DIR": str(self.home / "cache"),
            "MODELFETCH_CATALOG": str(self.home / "catalog"),
            "MODELFETCH_SOURCES_ORDER": "huggingface",
            "HF_ENDPOINT": endpoint,
        }
        workspace = Workspace.open(environ=environ, cwd=self.home)
        manifests = workspace.manifests([name]) if name else []
        make_probe = partial(LayerProbe, **probe)
        [report], left_out = check_hosts(workspace, manifests, seconds=seconds, make_probe=make_probe)
        assert left_out == 0
        found = {finding.check: finding for finding in host_findings(report)}
        assert list(found) == LAYERS
        assert not [each for each in found.values() if SECRET in each.message + each.hint]
        assert all(each.hint for each in found.values() if each.state in (State.WARNING, State.FAILURE))
        return found


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Iterator[Scene]:
    for name in (*VARIABLES, *map(str.upper, VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "catalog").mkdir()
    with ExitStack() as stack:
        yield Scene(tmp_path, monkeypatch, stack, authority)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def assert_fails_at(layer: str, found: dict[str, Finding], *words: str) -> None:
    """The layer fails, and says why; everything behind it was not reached, everything before it passed."""
    place = LAYERS.index(layer)
    states = [found[check].state for check in LAYERS]
    assert states[place] is State.FAILURE
    assert {*states[:place]} <= {State.OK}
    assert {*states[place + 1 :]} <= {State.NOT_REACHED, State.OK}
    text = found[layer].message + found[layer].hint
    assert [word for word in words if word not in text] == [], text


def test_all_layers_pass(scene: Scene) -> None:
    scene.trust()
    found = scene.diagnose(scene.secure().endpoint, "m")
    assert {finding.state for finding in found.values()} == {State.OK}
    assert found["dns"].message == "1 address (IPv4)"
    assert "issued by trustme" in found["tls"].message.lower()
    assert found["http"].message == "serves big.bin (300 kB)"
    assert "B/s" in found["speed"].message


def test_without_a_model_ranges_and_speed_are_skipped(scene: Scene) -> None:
    origin = scene.origin()
    found = scene.diagnose(origin.endpoint)
    assert found["http"].message.startswith("404 in ")
    assert [found[check].state for check in ("ranges", "speed")] == [State.SKIPPED] * 2
    assert origin.bytes_sent == 0


def test_no_name(scene: Scene) -> None:
    def no_name(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    found = scene.diagnose(f"https://{NAME}", resolver=no_name)
    assert_fails_at("dns", found, "cannot resolve host", "name server")


@pytest.mark.slow
def test_a_name_server_that_never_answers(scene: Scene) -> None:
    """A look-up has no time limit of its own."""
    import threading

    answered = threading.Event()
    scene.stack.callback(answered.set)

    def silent(*_: Any, **__: Any) -> Any:
        answered.wait(HELD)
        return []

    found = scene.diagnose(f"https://{NAME}", seconds=0.2, resolver=silent)
    assert_fails_at("dns", found, "no answer in time")


def test_connection_refused(scene: Scene) -> None:
    with refusing_port() as port:
        found = scene.diagnose(f"http://127.0.0.1:{port}")
    assert_fails_at("tcp", found, "connection refused", f"127.0.0.1:{port}")


def test_unknown_authority_is_named(scene: Scene) -> None:
    origin = scene.secure()
    found = scene.diagnose(origin.endpoint)
    assert_fails_at("tls", found, "certificate refused", "issued by trustme", "SSL_CERT_FILE")
    assert origin.requests == []


def test_expired_certificate(scene: Scene) -> None:
    scene.trust()
    found = scene.diagnose(scene.secure(expired=True).endpoint)
    assert_fails_at("tls", found, "expired", "valid until 2001-01-01", "This machine's clock says")


def test_certificate_of_another_host(scene: Scene) -> None:
    scene.trust()
    assert_fails_at("tls", scene.diagnose(scene.secure("other.example").endpoint), "127.0.0.1", "address")


def test_a_handshake_that_is_cut(scene: Scene) -> None:
    def hang_up(channel: Channel) -> None:
        channel.sock.recv(65_536)
        channel.end(reset=False)

    listener = Listener(hang_up)
    scene.stack.callback(listener.close)
    assert_fails_at("tls", scene.diagnose(f"https://127.0.0.1:{listener.port}"), "TLS handshake")


def test_trust_anchors_that_cannot_be_read(scene: Scene) -> None:
    scene.monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/gone.pem")  # a long path is shortened in messages
    assert_fails_at("tls", scene.diagnose(scene.secure().endpoint), "SSL_CERT_FILE", "gone.pem")


def test_a_proxy_is_named_with_its_variable(scene: Scene) -> None:
    proxy = scene.proxy("HTTP_PROXY", scene.origin())
    found = scene.diagnose(f"http://{NAME}")
    assert found["proxy"].message == f"{proxy.url.removeprefix('http://')}, by HTTP_PROXY"
    assert found["dns"].message == "1 address (IPv4) of the proxy in HTTP_PROXY"
    assert found["http"].state is State.OK
    scene.monkeypatch.setenv("NO_PROXY", NAME)
    found = scene.diagnose(f"http://{NAME}", resolver=_to_loopback)
    assert found["proxy"].message == "none for this host"


def _to_loopback(*_: Any, **__: Any) -> Any:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_407(scene: Scene, scheme: str) -> None:
    variable = f"{scheme.upper()}_PROXY"
    scene.proxy(variable, scene.origin(), credentials=f"user:{SECRET}")
    found = scene.diagnose(f"{scheme}://{NAME}")
    assert_fails_at("proxy", found, "407", variable)
    assert "of the proxy" in found["dns"].message


def test_a_wrong_password_of_a_proxy_is_not_shown(scene: Scene) -> None:
    proxy = scene.proxy("HTTPS_PROXY", scene.origin(), credentials="user:other")
    scene.monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", f"//user:{SECRET}@"))
    assert_fails_at("proxy", scene.diagnose(f"https://{NAME}"), "407")


def test_a_proxy_that_is_down(scene: Scene) -> None:
    with refusing_port() as port:
        scene.monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{port}")
        found = scene.diagnose(f"https://{NAME}")
    assert_fails_at("tcp", found, "connection refused", "of the proxy in HTTPS_PROXY", "NO_PROXY")


def test_a_proxy_without_a_valid_address(scene: Scene) -> None:
    scene.monkeypatch.setenv("HTTPS_PROXY", f"socks5://user:{SECRET}@127.0.0.1:9")
    found = scene.diagnose(f"https://{NAME}")
    assert found["proxy"].state is State.FAILURE
    assert "HTTPS_PROXY uses socks5" in found["proxy"].message
    assert {found[check].state for check in LAYERS if check != "proxy"} == {State.NOT_REACHED}


def test_tls_behind_a_proxy(scene: Scene) -> None:
    origin = scene.secure(NAME)
    scene.proxy("HTTPS_PROXY", origin)
    assert_fails_at("tls", scene.diagnose(f"https://{NAME}"), "certificate refused")
    scene.trust()
    assert "issued by trustme" in scene.diagnose(f"https://{NAME}")["tls"].message


def test_403(scene: Scene) -> None:
    origin = scene.origin()
    origin.fault("big.bin", faults.status(403))
    found = scene.diagnose(origin.endpoint, "m")
    assert_fails_at("http", found, "big.bin", "403", "HF_TOKEN")
    assert found["clock"].state is State.OK


@pytest.mark.parametrize(
    ("code", "state"), [(403, State.WARNING), (503, State.FAILURE), (501, State.OK), (302, State.OK)]
)
def test_the_status_of_a_host_without_a_model(scene: Scene, code: int, state: State) -> None:
    origin = scene.origin()
    origin.fault("*", faults.status(code))
    assert scene.diagnose(origin.endpoint)["http"].state is state


def test_no_answer(scene: Scene) -> None:
    origin = scene.origin()
    origin.fault("*", faults.no_answer())
    assert_fails_at("http", scene.diagnose(origin.endpoint), "cut before an answer")


def test_no_ranges_is_a_warning(scene: Scene) -> None:
    origin = scene.origin()
    origin.fault("big.bin", faults.ignored_range())
    found = scene.diagnose(origin.endpoint, "m")
    assert (found["ranges"].state, found["ranges"].message) == (State.WARNING, "sends no parts of files")
    assert found["speed"].state is State.OK


def test_a_file_that_is_cut_is_no_speed(scene: Scene) -> None:
    origin = scene.origin()
    origin.fault("big.bin", faults.cut(1000))
    assert_fails_at("http", scene.diagnose(origin.endpoint, "m"), "big.bin")


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        (timedelta(minutes=-20), State.WARNING, "20 min ahead"),
        (timedelta(hours=3, minutes=20), State.WARNING, "3 h behind"),
        (timedelta(days=400, hours=1), State.FAILURE, "400 days behind"),
    ],
    ids=str,
)
def test_clock_skew(scene: Scene, ahead: timedelta, state: State, words: str) -> None:
    """The host states another time than this machine."""
    origin = scene.origin()
    date = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    origin.fault("*", faults.header("Date", date))
    found = scene.diagnose(origin.endpoint, "m")
    assert found["clock"].state is state
    assert words in found["clock"].message
    assert found["speed"].state is State.OK, "a wrong clock does not keep the rest from being checked"


def test_a_hostile_answer_is_displayed_without_control_characters(scene: Scene) -> None:
    origin = scene.origin()
    origin.fault("*", faults.header("Date", "\x1b[2Jyesterday"))
    found = scene.diagnose(origin.endpoint)
    assert found["clock"].state in (State.SKIPPED, State.NOT_REACHED)
    assert all(finding.message.isprintable() for finding in found.values())


def test_hosts_are_contacted_in_parallel(scene: Scene) -> None:
    """One that does not answer does not keep another one from being checked."""
    origin = scene.origin()
    mute = scene.stack.enter_context(
        closing(Listener(lambda _: origin.until(lambda origin: bool(origin.requests))))
    )
    environ = {
        "HOME": str(scene.home),
        "MODELFETCH_CACHE_DIR": str(scene.home / "cache"),
        "MODELFETCH_SOURCES_ORDER": "huggingface,mirror",
        "MODELFETCH_SOURCES_MIRRORS": f"{origin.endpoint}/{{path}}",
        "HF_ENDPOINT": f"https://127.0.0.1:{mute.port}",
    }
    workspace = Workspace.open(environ=environ, cwd=scene.home)
    reports, _ = check_hosts(workspace, [], seconds=HELD, make_probe=partial(LayerProbe, seconds=HELD))
    failed = {
        report.host: finding.check
        for report in reports
        for finding in host_findings(report)
        if finding.state is State.FAILURE
    }
    assert len(reports) == 2
    assert failed == {f"127.0.0.1:{mute.port}": "tls"}
    assert mute.errors == [], "the other one was not asked meanwhile"


def test_the_context_that_verifies_nothing_is_used_for_a_certificate_only(scene: Scene) -> None:
    """Nothing is sent over the second connection, which reads the certificate that was refused."""
    origin = scene.secure()
    scene.diagnose(origin.endpoint, "m")
    assert origin.connections <= 3, "one to connect, one to ask, one to read the certificate"
    assert origin.requests == []
    assert os.environ.get("SSL_CERT_FILE") is None
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
