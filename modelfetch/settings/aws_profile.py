"""Reads the profile of the AWS tools: ``~/.aws/credentials`` and ``~/.aws/config``.

The client of object stores reads environment variables and instance metadata itself, but not these files. A
profile is a section of both, and the credentials file takes precedence (AWS SDKs and Tools Reference Guide,
"Shared config and credentials files")::

    ~/.aws/credentials    [lab]            aws_access_key_id, aws_secret_access_key, aws_session_token
    ~/.aws/config         [profile lab]    region, endpoint_url, and any of the above

Profiles that log in through a browser, another role or a program have no key here. ``aws configure
export-credentials`` turns them into environment variables. A project cannot choose the profile: only the
environment names one.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.regular_file import read_regular
from modelfetch.settings.locations import home_directory

_MOST_BYTES: Final = 1 << 20
"""Largest file that is read, in bytes; files of hundreds of profiles have some 100 KB."""
_LOGINS: Final = ("sso_session", "sso_start_url", "role_arn", "credential_process", "login_session")
"""Keys of profiles whose credentials are obtained by a program of AWS."""


@dataclass(frozen=True, slots=True)
class AwsProfile:
    """What a profile says. Each text is empty if the profile does not say it."""

    name: str
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    region: str = ""
    endpoint: str = ""
    needs_login: bool = False
    """Whether its credentials are obtained by a program of AWS, and are not in these files."""

    @property
    def has_key(self) -> bool:
        """Whether it has a static key."""
        return bool(self.access_key_id and self.secret_access_key)


def read_profile(environ: Mapping[str, str]) -> AwsProfile:
    """Return the profile that the environment names, else ``default``; empty if there is none.

    A file that cannot be read or parsed counts as absent, as for the AWS tools.
    """
    name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    home = home_directory(environ) / ".aws"
    keys = _section(_path(environ, "AWS_SHARED_CREDENTIALS_FILE", home / "credentials"), name)
    section = name if name == "default" else f"profile {name}"
    found = _section(_path(environ, "AWS_CONFIG_FILE", home / "config"), section) | keys
    return AwsProfile(
        name,
        access_key_id=found.get("aws_access_key_id", ""),
        secret_access_key=found.get("aws_secret_access_key", ""),
        session_token=found.get("aws_session_token", ""),
        region=found.get("region", ""),
        endpoint=found.get("endpoint_url", ""),
        needs_login=any(found.get(key) for key in _LOGINS),
    )


def _path(environ: Mapping[str, str], variable: str, default: Path) -> Path:
    named = environ.get(variable, "").strip()
    # Not by pathlib, which raises an error for a user that this machine does not have.
    return Path(os.path.expanduser(named)) if named else default  # noqa: PTH111


def _section(path: Path, section: str) -> dict[str, str]:
    # No interpolation: a secret key may contain "%".
    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(read_regular(path, _MOST_BYTES).decode("utf-8"))
        return {key: value.strip() for key, value in parser.items(section)}
    except (OSError, ValueError, RuntimeError, configparser.Error):
        return {}
