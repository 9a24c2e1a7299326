"""References: how a person names a model that no catalog has, such as ``hf:org/repo@main``. Values only.

=============================================  ==========================================
``hf:org/repo@rev``, ``hf:datasets/org/repo``  a Hugging Face repository
``ms:org/repo@rev``, ``ms:datasets/org/repo``  a ModelScope repository
``gh:owner/repo@tag:glob``                     assets of a GitHub release
``oci:registry/repository:tag``                an OCI artifact (also ``@sha256:...``)
``ollama:model:tag``                           a model of an ollama registry
``ipfs:cid/path``                              a file on IPFS
``https://host/file``                          a file
``s3://bucket/key``, ``s3://bucket/prefix/``   an object, or all below a prefix (also gs, az)
``./directory``, ``/file``                     what lies on this disk
=============================================  ==========================================

The text of each value is its canonical form: parsing it returns an equal value. The parser is in
:mod:`modelfetch.model.parse_reference`.
"""

from __future__ import annotations

from typing import Literal

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import RepoType
from modelfetch.model.object_address import ObjectAddress

Hub = Literal["hf", "ms"]


@dataclass(frozen=True, slots=True)
class RepoReference:
    """A repository of Hugging Face (``hf``) or ModelScope (``ms``)."""

    hub: Hub
    repo: str
    """``owner/name``; on Hugging Face also a legacy name without an owner."""
    revision: str | None = None
    """Branch, tag or commit; None for the default branch of the hub."""
    type: RepoType = "model"
    tail: str = ""
    """From a page address (``tree/REV/...``, ``blob/REV/...``): what follows the first part of the revision.

    Empty for a whole repository. A branch may contain slashes, so the text alone does not tell whether
    ``a/b`` is a branch, or the folder ``b`` on branch ``a``. The upstream asks for the names of branches.
    """

    @property
    def text(self) -> str:
        """The canonical form; a tail is not part of it, because it becomes an ``include`` pattern."""
        prefix = {"model": "", "dataset": "datasets/", "space": "spaces/"}[self.type]
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{self.hub}:{prefix}{self.repo}{revision}"


@dataclass(frozen=True, slots=True)
class GithubReference:
    """Assets of a GitHub release."""

    repo: str
    """``owner/name``."""
    tag: str | None = None
    """None for the latest release."""
    glob: str = ""
    """Pattern of the assets' names; empty for all."""

    @property
    def text(self) -> str:
        """The canonical form."""
        tag = "" if self.tag is None else f"@{self.tag}"
        return f"gh:{self.repo}{tag}" + (f":{self.glob}" if self.glob else "")


@dataclass(frozen=True, slots=True)
class OciReference:
    """An artifact in an OCI registry."""

    registry: str
    """Host, with its port where one was given; ``docker.io`` where none was named."""
    repository: str
    tag: str | None = None
    """None where a digest is given; else ``latest`` is the default."""
    digest: str | None = None
    """``sha256:`` and 64 hexadecimal digits; takes precedence over a tag."""

    @property
    def text(self) -> str:
        """The canonical form."""
        place = f"oci:{self.registry}/{self.repository}"
        return f"{place}@{self.digest}" if self.digest else f"{place}:{self.tag}"


@dataclass(frozen=True, slots=True)
class OllamaReference:
    """A model of an ollama registry, or of another host with the same protocol."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def text(self) -> str:
        """The canonical form; parts that have their default value are left out."""
        host = "" if self.host == "registry.ollama.ai" else f"{self.host}/"
        namespace = "" if not host and self.namespace == "library" else f"{self.namespace}/"
        return f"ollama:{host}{namespace}{self.model}:{self.tag}"


@dataclass(frozen=True, slots=True)
class IpfsReference:
    """A file on IPFS."""

    cid: str
    """Canonical text of the CID."""
    path: str = ""

    @property
    def text(self) -> str:
        """The canonical form."""
        return f"ipfs:{self.cid}" + (f"/{self.path}" if self.path else "")


@dataclass(frozen=True, slots=True)
class UrlReference:
    """A file at a URL."""

    url: str

    @property
    def text(self) -> str:
        """The canonical form."""
        return self.url


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """An object in an object store, or all objects below a prefix."""

    address: ObjectAddress

    @property
    def text(self) -> str:
        """The canonical form."""
        return self.address.text


@dataclass(frozen=True, slots=True)
class DiskReference:
    """A directory or file on this disk."""

    path: str
    """As given by the user; may be relative."""

    @property
    def text(self) -> str:
        """The canonical form."""
        return self.path


Reference = (
    RepoReference
    | GithubReference
    | OciReference
    | OllamaReference
    | IpfsReference
    | UrlReference
    | ObjectReference
    | DiskReference
)
