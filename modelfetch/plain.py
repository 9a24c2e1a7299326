"""The plainest command lines, understood without a library: loading one takes longer than many a run."""


def plain_names(arguments: list[str], command: str) -> list[str] | None:
    """The names in ``COMMAND [NAME...] [--quiet]``, each once; None if that is not all ``arguments`` say."""
    names = list(dict.fromkeys(name for name in arguments[1:] if name not in ("--quiet", "-q")))
    return names if arguments[:1] == [command] and all(map(_is_plain, names)) else None


def _is_plain(name: str) -> bool:
    return bool(name) and name[0] not in "-." and "/" not in name
