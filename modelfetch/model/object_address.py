"""Addresses of objects in object stores: ``s3://``, ``gs://`` and ``az://``. Pure functions.

An address names a bucket (a container on Azure) and a key, as the tools of these stores write it::

    s3://models/whisper/base.bin      bucket "models", key "whisper/base.bin"
    gs://models/whisper/              bucket "models", all objects whose keys begin with "whisper/"

An address has no host: the endpoint and the credentials come from the environment and the user's own files.
So a manifest, which may come with another person's repository, cannot choose where credentials are sent. The
key is literal, never percent-encoded. It has no empty part and no part ``.`` or ``..``, which clients of
object stores treat in different ways.
"""

from __future__ import annotations

import re
from typing import Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import visible

SCHEMES: Final = ("s3", "gs", "az")
"""Amazon S3 and compatible stores, Google Cloud Storage, Azure Blob Storage."""

KEY_BYTES: Final = 1024
"""Longest key in bytes (Amazon S3 user guide, "Naming Amazon S3 objects"; the other stores have this limit
too)."""

_BUCKETS: Final = {
    "s3": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "gs": r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",
    "az": r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$root",
}
"""Names of buckets: Amazon S3 "Bucket naming rules", Cloud Storage "Bucket names", Azure "Naming and
referencing containers"."""


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """An object, or all objects below a prefix."""

    scheme: str
    """One of :data:`SCHEMES`."""
    bucket: str
    key: str
    """Empty for the whole bucket; a prefix ends with a slash."""

    @property
    def text(self) -> str:
        """The address."""
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def place(self) -> str:
        """The bucket, for display and statistics: ``s3://models``."""
        return f"{self.scheme}://{self.bucket}"

    @property
    def is_prefix(self) -> bool:
        """Whether it stands for all objects below a prefix."""
        return not self.key or self.key.endswith("/")


def parse_object_url(text: str) -> ObjectAddress:
    """Parse an address.

    Raises:
        ValueError: It is malformed; the message continues "the address ...".
    """
    if clause := why_bad_object_url(text):
        raise ValueError(clause)
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    return ObjectAddress(scheme, bucket, key)


def why_bad_object_url(text: str) -> str:
    """Check the address of an object, or of a prefix.

    Returns:
        What is wrong, as a clause that continues "the address ...", or an empty string.
    """
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES:
        return "must start with s3://, gs:// or az://"
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        return "contains a user name or password; credentials never belong in an address"
    if not re.fullmatch(_BUCKETS[scheme], bucket):
        return "has no valid name of a bucket; an endpoint belongs in the environment"
    return _why_bad_key(key)


def _why_bad_key(key: str) -> str:
    if len(key.encode("utf-8", "surrogatepass")) > KEY_BYTES:
        return f"has a key of more than {KEY_BYTES} bytes"
    if key != visible(key):
        return "contains control or invisible characters"
    if "?" in key or "#" in key:
        # Valid in a key, but more often the signature of a link, which is a secret and expires.
        return "contains a query or fragment"
    parts = key.removesuffix("/").split("/")
    if key and not all(part and part not in (".", "..") for part in parts):
        return "has an empty part, or a part '.' or '..'"
    return ""
