"""The environment of the ModelScope libraries: token and endpoint.

Variables are those of modelscope_hub. The login that these libraries store on disk is not read: it is a
pickle, and loading a pickle runs whatever program it contains.

For example, ``MODELSCOPE_ENDPOINT=www.modelscope.ai`` selects the international site. It is a different site
from the default, ``modelscope.cn``, with repositories of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelfetch.settings.hf_environment import Token, from_variable

_TOKEN: Final = "MODELSCOPE_API_TOKEN"  # noqa: S105 - the name of a variable


def token(environ: Mapping[str, str]) -> Token:
    """Return the user's token.

    Raises:
        ConfigError: The variable holds characters that a header cannot carry; the message does not show them.
    """
    if not environ.get(_TOKEN, "").strip():
        return Token(None, "not set")
    return from_variable(environ, _TOKEN)


def endpoint(environ: Mapping[str, str]) -> str:
    """Return the address of the endpoint; empty if it is not set.

    The libraries accept a host without ``https://``, and so it is accepted here.
    """
    text = environ.get("MODELSCOPE_ENDPOINT", "").strip()
    return text if "://" in text or not text else f"https://{text}"
