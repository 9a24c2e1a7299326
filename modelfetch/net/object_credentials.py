"""Finds endpoint and credentials of object stores, as the stores' own tools do.

The client of object stores reads most of them itself. What is added here: the files of the AWS tools, plain
HTTP for an endpoint that is named with ``http://``, and unsigned requests where there are no credentials, as
for buckets that everyone may read. Credentials are looked for in this order::

    s3   AWS_ACCESS_KEY_ID, web identity, container, profile in ~/.aws, instance metadata, none
    gs   GOOGLE_*, application default credentials of gcloud, instance metadata, none
    az   AZURE_*, a login of the Azure CLI, instance metadata, none

Everything comes from the environment and the user's own files. Settings and manifests, which may belong to a
project, have no part in it.
"""

from __future__ import annotations

import http.client
import os
import shutil
from collections.abc import Mapping
from typing import Any, Final

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.addresses import why_bad_url
from modelfetch.settings.aws_profile import read_profile
from modelfetch.settings.locations import home_directory

_METADATA_SECONDS: Final = 1.0
"""Seconds to wait for the metadata server of a cloud, as the AWS tools do (AWS_METADATA_SERVICE_TIMEOUT). On
another machine nothing answers, and each run without credentials waits this long."""
_METADATA_HOST: Final = "169.254.169.254"
"""The metadata server of each of these clouds. Google has a name for it, too, but outside of its cloud the
system would look for that name as long as it likes."""
_METADATA: Final = {
    "s3": ("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}),
    "gs": (
        "GET",
        "/computeMetadata/v1/instance/service-accounts/default/email",
        {"Metadata-Flavor": "Google"},
    ),
    "az": ("GET", "/metadata/instance?api-version=2021-02-01", {"Metadata": "true"}),
}
"""Request that shows whether a machine has credentials: method, path and header fields (IMDSv2; Google "Query
VM metadata"; Azure Instance Metadata Service)."""

_VARIABLES: Final = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_METADATA_ENDPOINT",
    ),
    "gs": (
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_BEARER_TOKEN",
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_CLIENT_ID",
        "AZURE_STORAGE_CLIENT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_MSI_ENDPOINT",
        "AZURE_IDENTITY_ENDPOINT",
        "IDENTITY_ENDPOINT",
        "AZURE_USE_AZURE_CLI",
    ),
}
"""Variables each of which means that there are credentials."""
_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_ENDPOINT_URL"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_WITHOUT: Final = {
    "s3": ("AWS_SKIP_SIGNATURE", "AWS_EC2_METADATA_DISABLED"),
    "gs": ("GOOGLE_SKIP_SIGNATURE", "NO_GCE_CHECK"),
    "az": ("AZURE_SKIP_SIGNATURE",),
}
"""Variables that are ``true`` where no metadata server is to be asked."""
_HINTS: Final = {
    "s3": "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE and ~/.aws/credentials.",
    "gs": "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS.",
    "az": "Set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or run `az login`.",
}


@dataclass(frozen=True, slots=True)
class ObjectAccess:
    """How the stores of one scheme are reached."""

    config: dict[str, Any]
    """Options of the client of object stores, besides those that it reads from the environment."""
    endpoint: str
    """The address that requests are sent to, for the choice of a proxy."""
    hint: str
    """What a person can do if access is refused."""

    @property
    def is_plain(self) -> bool:
        """Whether the endpoint is named with ``http://``: else plain connections are refused."""
        return self.endpoint.startswith("http://")


def access_to(scheme: str, environ: Mapping[str, str]) -> ObjectAccess:
    """Find endpoint and credentials.

    Raises:
        SourceError: The endpoint is no address; or Azure without the name of an account, which every address
            needs.
    """
    config: dict[str, Any] = {}
    endpoint = next((environ[name] for name in _ENDPOINTS[scheme] if environ.get(name)), "")
    hint = _HINTS[scheme]
    has_credentials = any(environ.get(name) for name in _VARIABLES[scheme])
    if scheme == "s3":
        endpoint, has_credentials, hint = _of_profile(config, environ, endpoint, has_credentials, hint)
    elif scheme == "gs":
        login = home_directory(environ) / ".config/gcloud/application_default_credentials.json"
        # Not by pathlib, which raises an error for what it may not look at, as the home of another user.
        has_credentials = has_credentials or os.path.isfile(login)  # noqa: PTH113
    else:
        has_credentials = _of_azure(config, environ, has_credentials)
    if not has_credentials and not _has_metadata(scheme, environ):
        config["skip_signature"] = True
        hint = f"No credentials were found, so the request was not signed. {hint}"
    if endpoint and (clause := why_bad_url(endpoint)):
        # Checked here, because the client panics where it cannot use one.
        raise SourceError(
            Fault.PROTOCOL,
            f"the endpoint of the object store {clause}",
            hint=f"Write it as https://HOST or http://HOST:PORT in {endpoint_variable(scheme)}.",
        )
    return ObjectAccess(config, endpoint or _usual_endpoint(scheme, config, environ), hint)


def endpoint_variable(scheme: str) -> str:
    """The usual variable of the environment that names the endpoint of a scheme's stores."""
    return _ENDPOINTS[scheme][-1] if scheme == "s3" else _ENDPOINTS[scheme][0]


def _usual_endpoint(scheme: str, config: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    if scheme == "gs":
        return "https://storage.googleapis.com"
    if scheme == "az":
        return f"https://{environ.get('AZURE_STORAGE_ACCOUNT_NAME', '')}.blob.core.windows.net"
    region = config.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return f"https://s3.{region or 'us-east-1'}.amazonaws.com"


def _of_profile(
    config: dict[str, Any], environ: Mapping[str, str], endpoint: str, has_credentials: bool, hint: str
) -> tuple[str, bool, str]:
    """Add what the profile of the AWS tools says and the environment does not."""
    profile = read_profile(environ)
    if not endpoint and profile.endpoint:
        config["endpoint"] = endpoint = profile.endpoint
    if profile.region and not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        config["region"] = profile.region
    if has_credentials:
        return endpoint, True, hint
    if profile.has_key:
        config["access_key_id"] = profile.access_key_id
        config["secret_access_key"] = profile.secret_access_key
        if profile.session_token:
            config["session_token"] = profile.session_token
        return endpoint, True, f"The key is that of the profile {profile.name} in ~/.aws. {hint}"
    if profile.needs_login:
        hint = 'The profile has no key of its own: `eval "$(aws configure export-credentials --format env)"`.'
    return endpoint, False, hint


def _of_azure(config: dict[str, Any], environ: Mapping[str, str], has_credentials: bool) -> bool:
    if not environ.get("AZURE_STORAGE_ACCOUNT_NAME"):
        raise SourceError(
            Fault.AUTHORIZATION,
            "no storage account is named",
            hint="Set AZURE_STORAGE_ACCOUNT_NAME; an az:// address names the container only.",
        )
    has_login = os.path.isdir(home_directory(environ) / ".azure")  # noqa: PTH112 - as above
    if not has_credentials and has_login and shutil.which("az"):
        config["use_azure_cli"] = True
        return True
    return has_credentials


def _has_metadata(scheme: str, environ: Mapping[str, str]) -> bool:
    """Whether this machine is one of the cloud, whose metadata server has credentials for it."""
    if any(environ.get(name, "").casefold() == "true" for name in _WITHOUT[scheme]):
        return False
    method, path, fields = _METADATA[scheme]
    connection = http.client.HTTPConnection(_METADATA_HOST, timeout=_METADATA_SECONDS)  # never by a proxy
    try:
        connection.request(method, path, headers=fields)
        found = connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        found = False
    finally:
        connection.close()
    if tracing.active is not None:
        tracing.active.detail(f"object store: {'a' if found else 'no'} metadata server of the cloud")
    return found
