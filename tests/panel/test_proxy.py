"""The panel behind nginx, which ends TLS, as docs/how-to/serve.md has it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.e2e.ports import lasting_ports
from tests.panel.conftest import LONG, Open
from tests.panel.house import House, house
from tests.panel.panel import Panel
from tests.patience import IN_TIME

pytestmark = pytest.mark.browser

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")

CONFIGURATION = """
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate     {home}/chain.pem;
        ssl_certificate_key {home}/key.pem;
        location {path} {{
            proxy_pass {server}/;
            {headers}
        }}
    }}
}}
"""


@contextmanager
def proxied(home: Path, port: int, server: str, path: str, headers: str) -> Iterator[None]:
    """Nginx in front of a server."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    home.mkdir()
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(home / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(home / "chain.pem", append=True)
    text = CONFIGURATION.format(home=home, port=port, path=path, server=server, headers=headers)
    (home / "nginx.conf").write_text(text, encoding="utf-8")
    command = [NGINX, "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf", "-p", str(home)]
    with subprocess.Popen(command) as running:
        try:
            _until_it_listens(port)
            yield
        finally:
            running.terminate()


def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + IN_TIME
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.02)
        else:
            return


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", ""),
        ("/models/", ""),
        ("/", "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Host $http_host;"),
    ],
    ids=["as documented", "below a path", "with the public name"],
)
def test_everything_works_through_it(
    tmp_path: Path, browser: object, tabs: Open, path: str, headers: str
) -> None:
    """What needs an origin of its own, what streams, what is posted and what is deleted."""
    [port] = lasting_ports(1)
    public = f"https://localhost:{port}{path}"

    def furnish(made: House) -> None:
        made.options = ("--public-url", public)
        made.serve("far-away", LONG)
        made.serve("given-up", {"model.onnx": 8_000_000})

    with ExitStack() as stack:
        own = stack.enter_context(house(tmp_path / "house", furnish))
        assert own.url == public.rstrip("/") + "/"
        stack.enter_context(proxied(tmp_path / "nginx", port, own.local, path, headers))
        panel: Panel = tabs(own, ignore_https_errors=True).enter()
        panel.install("far-away")
        panel.watch("far-away", 10)
        panel.reaches("far-away", "done")
        own.hold("given-up", 1_000_000)
        panel.install("given-up")
        panel.watch("given-up", 5)
        panel.press("given-up", "Cancel")
        panel.reaches("given-up", "cancelled")
        panel.press("given-up", "Clear")
        panel.expect(panel.card("given-up")).to_have_count(0)
