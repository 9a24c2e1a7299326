"""Served models and their manifests, the runner for people, and the proxy."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.origin import Content, Origin, Proxy, model, refusing_port, whisper_like
from tests.origin.certificates import Authority
from tests.origin.client import fetch
from tests.origin.models import WHISPER_FILES

ROOT = Path(__file__).parents[2]


def test_model_is_served_by_every_source_of_its_manifest(tmp_path: Path) -> None:
    with Origin() as origin, Origin() as mirror:
        served = model(
            origin,
            {"a/x.bin": 1000, "b.txt": b"text"},
            name="m",
            version="7",
            mirrors=[mirror, "https://mirror.example/{sha256}"],
            urls=[origin],
            ipfs="file",
            catalog=tmp_path / "catalog",
        )
        manifest = tomllib.loads((tmp_path / "catalog" / "m.toml").read_text())
        first = manifest["files"][0]
        hub, template = manifest["huggingface"], manifest["mirrors"]["urls"][0]
        places = [
            origin.url(f"/{hub['repo']}/resolve/{hub['revision']}/{first['path']}"),
            origin.url(f"/ipfs/{first['cid']}"),
            template.format(name="m", version="7", path=first["path"]),
            *first["urls"],
        ]
        assert {fetch(url).body for url in places} == {served.contents["a/x.bin"].data}
    assert template.startswith(mirror.endpoint)
    assert manifest["mirrors"]["urls"][1] == "https://mirror.example/{sha256}"
    assert (first["size"], first["sha256"]) == (1000, served.contents["a/x.bin"].sha256)
    assert served.environment == {
        "HF_ENDPOINT": origin.endpoint,
        "MODELFETCH_CATALOG": str(tmp_path / "catalog"),
    }
    assert served.size == 1004


def test_model_under_a_directory_cid(tmp_path: Path) -> None:
    with Origin() as origin:
        served = model(origin, {"a/x.bin": Content.zeros(5)}, ipfs="directory", huggingface=False)
        manifest = tomllib.loads(served.manifest)
        assert fetch(origin.url(f"/ipfs/{manifest['ipfs']['cid']}/a/x.bin")).body == bytes(5)
    assert "huggingface" not in manifest
    assert served.catalog is None


def test_models_of_one_origin_do_not_mix() -> None:
    with Origin() as origin:
        one, two = (model(origin, {"config.json": 100}, name=name) for name in ("one", "two"))
        assert one.contents["config.json"].data != two.contents["config.json"].data
        assert fetch(origin.url("/mirror/one/1/config.json")).body == one.contents["config.json"].data
        assert fetch(origin.url("/mirror/two/1/config.json")).body == two.contents["config.json"].data


def test_whisper_like_has_the_layout_and_can_shrink() -> None:
    with Origin() as origin:
        served = whisper_like(origin, shrink=1000)
    assert list(served.contents) == list(WHISPER_FILES)
    assert served.contents["onnx/decoder_model_merged.onnx"].size == 208_522
    assert sum(WHISPER_FILES.values()) == 295_289_621


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_runner_serves_until_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    options = ["--model", "small", "--catalog", str(tmp_path), "--mirror-fault", "404", "--pace", "20M"]
    command = [sys.executable, "-m", "tests.origin", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as runner:
        assert runner.stdout
        assert runner.stderr
        lines = [runner.stdout.readline().strip() for _ in range(5)]
        endpoint, mirror = lines[0].split()[-1], lines[1].split()[-1]
        assert lines[2:4] == [f"export HF_ENDPOINT={endpoint}", f"export MODELFETCH_CATALOG={tmp_path}"]
        assert fetch(f"{endpoint}/origin/small-like/resolve/main/config.json").status == 200
        assert fetch(f"{mirror}/mirror/small-like/1/config.json").status == 404
        runner.send_signal(number)
        assert "origin: 1 requests, 2243 bytes sent, 1 connections" in runner.stderr.read()
    assert runner.returncode == 0


# Proxy


def test_proxy_forwards_plain_requests() -> None:
    with Origin() as origin, Proxy() as proxy:
        origin.add("x", b"through")
        client = http.client.HTTPConnection(proxy.url.removeprefix("http://"))
        client.request("GET", origin.url("/files/x?q=1"), headers={"Proxy-Connection": "keep-alive"})
        assert client.getresponse().read() == b"through"
        client.close()
        assert origin.requests[0].target == "/files/x?q=1"
        assert origin.requests[0].header("Proxy-Connection") is None
    assert proxy.requests[0].target.startswith("http://127.0.0.1:")


def test_proxy_tunnels_tls() -> None:
    authority = Authority()
    with Origin(tls=authority.server()) as origin, Proxy() as proxy:
        origin.add("x", b"through")
        client = http.client.HTTPSConnection(proxy.url.removeprefix("http://"), context=authority.client())
        client.set_tunnel("127.0.0.1", origin.port)
        client.request("GET", "/files/x")
        assert client.getresponse().read() == b"through"
        client.close()
        assert proxy.tunnels == [f"127.0.0.1:{origin.port}"]


def test_proxy_wants_credentials() -> None:
    with Origin() as origin, Proxy(credentials="user:pass") as proxy:
        client = http.client.HTTPConnection(proxy.url.removeprefix("http://"))
        client.request("GET", origin.url("/files/x"))
        refused = client.getresponse()
        assert (refused.status, refused.getheader("Proxy-Authenticate")) == (407, 'Basic realm="proxy"')
        refused.read()
        basic = "Basic " + base64.b64encode(b"user:pass").decode()
        client.request("GET", origin.url("/files/x"), headers={"Proxy-Authorization": basic})
        assert client.getresponse().status == 404
        client.close()
        assert len(origin.requests) == 1


def test_proxy_cuts_or_fails() -> None:
    with Proxy("cut") as proxy:
        assert fetch(proxy.url + "/x", method="CONNECT").raw == b""
    with Proxy("bad-gateway") as proxy:
        assert fetch(proxy.url + "/x").status == 502


def test_proxy_answers_502_when_nobody_listens() -> None:
    with Proxy() as proxy, refusing_port() as port:
        client = http.client.HTTPConnection(proxy.url.removeprefix("http://"))
        client.request("GET", f"http://127.0.0.1:{port}/x")
        assert client.getresponse().status == 502
        client.close()


def test_refusing_port_refuses() -> None:
    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        fetch(f"http://127.0.0.1:{port}/")
