"""What should not happen, told to who runs the server: on stderr, unless logging says otherwise."""

from __future__ import annotations

import logging
import traceback

from modelfetch.model.text import sanitise
from modelfetch.settings.redaction import redact_text


def report(error: BaseException, what: str) -> None:
    """Log an exception, line by line, without secrets and without anything that could steer a terminal."""
    lines = redact_text("".join(traceback.format_exception(error))).splitlines()
    logging.getLogger(__name__).error("%s\n%s", what, "\n".join(map(sanitise, lines)))
