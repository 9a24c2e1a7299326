"""Repositories of OCI registries, and the addresses of their manifests and blobs. Pure.

The paths are those of the OCI distribution specification. Plain http is used for registries on this machine
only. For example, the blob of a file with a known SHA-256 is at::

    https://registry.example/v2/models/whisper/blobs/sha256:<64 hexadecimal digits>
"""

from __future__ import annotations

import re
from typing import Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.urls import is_localhost, parse_ip, quote_path

_REGISTRY: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
"""Wider than the specification, which has no upper case: registries of the ollama protocol have names such as
``Qwen/Qwen3-GGUF``. No segment begins with a dot."""
_LONGEST: Final = 512
"""Most characters of registry and name together; common clients stop at 255."""
_ENDPOINTS: Final = {
    "docker.io": "registry-1.docker.io",
    "index.docker.io": "registry-1.docker.io",
    "hf.co": "huggingface.co",
}
"""Hosts of the API, where they are not the ones in references."""


@dataclass(frozen=True, slots=True)
class RegistryRepository:
    """A repository of a registry."""

    registry: str
    """Host, with its port where one was given."""
    name: str
    """Path of the repository in the registry."""

    @classmethod
    def parse(cls, text: str) -> RegistryRepository:
        """Parse ``REGISTRY/REPOSITORY``.

        Raises:
            ValueError: It has another form.
        """
        registry, _, name = text.partition("/")
        repository = cls(registry, name)
        repository.check()
        return repository

    def check(self) -> None:
        """Check the form of both parts, so that they cannot change the rest of a URL.

        Raises:
            ValueError: One of them has another form.
        """
        is_valid = _REGISTRY.fullmatch(self.registry) and _NAME.fullmatch(self.name)
        if not is_valid or len(self.registry) + len(self.name) > _LONGEST:
            raise ValueError("expected REGISTRY/REPOSITORY")

    @property
    def text(self) -> str:
        """``REGISTRY/REPOSITORY``."""
        return f"{self.registry}/{self.name}"

    @property
    def is_on_this_machine(self) -> bool:
        """Whether the registry is ``localhost``, 127/8 or ::1, by its text alone."""
        return is_loopback(re.sub(r":\d+$", "", self.registry).strip("[]"))

    @property
    def endpoint(self) -> str:
        """Origin of the API."""
        scheme = "http" if self.is_on_this_machine else "https"
        registry = self.registry.lower()
        return f"{scheme}://{_ENDPOINTS.get(registry, registry)}"

    def manifest_url(self, reference: str) -> str:
        """Address of a manifest, by tag or digest."""
        return f"{self.endpoint}/v2/{quote_path(self.name)}/manifests/{reference}"

    def blob_url(self, sha256: str) -> str:
        """Address of a blob, by the SHA-256 of its bytes in hexadecimal."""
        return f"{self.endpoint}/v2/{quote_path(self.name)}/blobs/sha256:{sha256}"

    @property
    def uploads_url(self) -> str:
        """Address at which uploads begin."""
        return f"{self.endpoint}/v2/{quote_path(self.name)}/blobs/uploads/"


PLAIN_HINT: Final = "Registries are reached over https, except those on this machine."
"""What a person is told where no TLS connection came to be: the registry may speak plain http."""


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback name or address; nothing is resolved."""
    if is_localhost(host):
        return True
    address = parse_ip(host)
    address = getattr(address, "ipv4_mapped", None) or address
    return address is not None and address.is_loopback
