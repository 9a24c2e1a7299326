"""The environment of the Hugging Face libraries: token, endpoint, cache directory and offline mode.

Variables and their precedence are those of huggingface_hub. So a user who ran ``hf auth login`` is logged in
here too, and files in the cache of the libraries need not be fetched again.

For example, the token is ``HF_TOKEN``, else ``HUGGING_FACE_HUB_TOKEN``, else the content of the file
``HF_TOKEN_PATH``, else of ``$HF_HOME/token``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from modelfetch.errors import ConfigError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize
from modelfetch.settings.config_files import is_there
from modelfetch.settings.locations import expand
from modelfetch.settings.values import Secret

_SENDABLE: Final = r"[\x21-\x7e]{1,4096}"
"""Visible ASCII without spaces, which an Authorization header can carry (RFC 9110 section 5.5)."""

_TOKENS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Variables that hold a token, highest precedence first; the second is the older name."""

_NO_TOKEN: Final = "HF_HUB_DISABLE_IMPLICIT_TOKEN"  # noqa: S105 - the name of a variable

_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""huggingface_hub reads both, so either one turns its offline mode on."""

_READ_CAP: Final = 8192
"""Bytes read of a token file; a token has about 40."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, if there is one, and its origin."""

    secret: Secret | None
    origin: str
    notice: str = ""
    """Why the stored token cannot be used, or empty."""


def token(environ: Mapping[str, str], home: Path) -> Token:
    """Find the user's token: a variable of :data:`_TOKENS`, else the file in which the libraries store it.

    A token file that cannot be used is only a notice, since public models need no token. With
    ``HF_HUB_DISABLE_IMPLICIT_TOKEN`` there is no token, as in the libraries.

    Raises:
        ConfigError: The variable holds characters that a header cannot carry; the message does not show them.
    """
    if _is_true(environ, _NO_TOKEN):
        return Token(None, f"environment {_NO_TOKEN}")
    name = next((name for name in _TOKENS if environ.get(name, "").strip()), None)
    if name is None:
        return _stored(_token_file(environ, home))
    return from_variable(environ, name)


def from_variable(environ: Mapping[str, str], name: str) -> Token:
    """Return the token that a variable holds.

    Raises:
        ConfigError: The variable holds characters that a header cannot carry; the message does not show them.
    """
    given = environ[name].strip()
    if re.fullmatch(_SENDABLE, given):
        return Token(Secret(given), f"environment {name}")
    raise ConfigError(
        f"environment {name}: expected a token, not text with spaces, controls or letters beyond ASCII",
        hint=f"Copy the token again, or unset {name}.",
    )


def endpoint(environ: Mapping[str, str]) -> str:
    """Return the variable that names the Hub or a mirror of it, or an empty string if it is not set."""
    return "HF_ENDPOINT" if "HF_ENDPOINT" in environ else ""


def offline(environ: Mapping[str, str]) -> str:
    """Return the variable that turns on the offline mode of the libraries, or an empty string."""
    return next((name for name in _OFFLINE if _is_true(environ, name)), "")


def _is_true(environ: Mapping[str, str], name: str) -> bool:
    """Return whether a variable is true as huggingface_hub reads it: every other word is false."""
    return environ.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE")


def cache(environ: Mapping[str, str], home: Path) -> Path:
    """Return the cache directory of the libraries; it may not exist."""
    named = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return _path(named, environ, home) if named else _base(environ, home) / "hub"


def _token_file(environ: Mapping[str, str], home: Path) -> Path:
    named = environ.get("HF_TOKEN_PATH")
    return _path(named, environ, home) if named else _base(environ, home) / "token"


def _base(environ: Mapping[str, str], home: Path) -> Path:
    if named := environ.get("HF_HOME"):
        return _path(named, environ, home)
    if shared := environ.get("XDG_CACHE_HOME"):
        return _path(shared, environ, home) / "huggingface"
    return home / ".cache" / "huggingface"


def _path(text: str, environ: Mapping[str, str], home: Path) -> Path:
    from string import Template  # here, as few environments name a path

    return expand(Template(text).safe_substitute(environ), home)


def _stored(path: Path) -> Token:
    origin = f"file {sanitize(str(path))}"
    try:
        with path.open("rb") as file:
            text = file.read(_READ_CAP).decode("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        if not is_there(path):
            return Token(None, "not set")
        return Token(None, "not set", f"{origin}: the token cannot be read ({_why(error)}); none is sent.")
    if not text:
        return Token(None, "not set")
    if re.fullmatch(_SENDABLE, text):
        return Token(Secret(text), origin)
    return Token(None, "not set", f"{origin}: the content is not a token; none is sent.")


def _why(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or "not a token"
