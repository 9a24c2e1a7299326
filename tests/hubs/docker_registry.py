"""Debian's ``docker-registry`` as a process of its own, and a token service that it trusts."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.e2e.ports import lasting_ports
from tests.patience import IN_TIME

PROGRAM = shutil.which("docker-registry")
USER, PASSWORD = "user", "s3cr3t"
_HTPASSWD = f"{USER}:$2b$05$2HbXYWyZ7HgYpZ1bWU7uZ.F0RVcPBE0yjuAPcgic.ud9FCfbUGADG\n"
SERVICE, ISSUER = "lab", "issuer"


class DockerRegistry:
    """A registry on 127.0.0.1 with its blobs in a directory.

    Args:
        root: Directory for blobs and configuration. Several registries may share it, one after the other.
        auth: Section ``auth`` of its configuration; empty for a registry that everyone may read and write.
        address: Loopback address, and port or 0. Names of registries leave out port 80.

    Raises:
        OSError: It may not listen there.
    """

    def __init__(
        self, root: Path, auth: dict[str, Any] | None = None, address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self.port = address[1] or lasting_ports(1)[0]
        socket.create_server((address[0], self.port)).close()
        self.host = address[0] if self.port == 80 else f"{address[0]}:{self.port}"
        self._address = (address[0], self.port)
        self._log = root / "registry.log"
        config = {
            "version": "0.1",
            "log": {"accesslog": {"disabled": True}, "level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(root / "blobs")}},
            "http": {"addr": f"{address[0]}:{self.port}"},
        } | ({"auth": auth} if auth else {})
        self._config = root / "registry.yml"
        self._config.write_text(json.dumps(config), "utf-8")  # JSON is YAML

    def __enter__(self) -> Self:
        assert PROGRAM is not None
        with self._log.open("ab") as log:
            line = [PROGRAM, "serve", str(self._config)]
            self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + IN_TIME
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(self._address, 1):
                return self
            time.sleep(0.02)
        raise TimeoutError(self._log.read_text("utf-8"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


def htpasswd(root: Path) -> dict[str, Any]:
    """Section ``auth`` for one user and password."""
    path = root / "htpasswd"
    path.write_text(_HTPASSWD, "utf-8")
    return {"htpasswd": {"realm": "lab", "path": str(path)}}


class TokenService:
    """Signs tokens that a registry trusts (distribution, docs/spec/auth/jwt.md).

    Args:
        root: Directory for its certificate.
    """

    def __init__(self, root: Path) -> None:
        issued = trustme.CA().issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        pem = issued.cert_chain_pems[0].bytes()
        self._certificate = x509.load_pem_x509_certificate(pem)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._bundle = root / "token.pem"
        self._bundle.write_bytes(pem)

    def auth(self, realm: str) -> dict[str, Any]:
        """Section ``auth`` for tokens of this service, which answers at ``realm``."""
        bundle = str(self._bundle)
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}}

    def token(self, repository: str) -> str:
        """A token for reading a repository."""
        chain = base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": USER,
            "aud": SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": "1",
            "access": [{"type": "repository", "name": repository, "actions": ["pull"]}],
        }
        signed = f"{_encoded({'typ': 'JWT', 'alg': 'ES256', 'x5c': [chain]})}.{_encoded(claims)}"
        r, s = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(document: dict[str, Any]) -> str:
    return _base64url(json.dumps(document).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
