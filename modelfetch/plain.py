"""What the plainest runs need, without a library: loading one takes longer than many of them."""


def plain_names(arguments: list[str], command: str) -> list[str] | None:
    """The names in ``COMMAND [NAME...] [--quiet]``, each once; None if that is not all ``arguments`` say."""
    names = list(dict.fromkeys(name for name in arguments[1:] if name not in ("--quiet", "-q")))
    return names if arguments[:1] == [command] and all(map(_is_plain, names)) else None


def _is_plain(name: str) -> bool:
    return bool(name) and name[0] not in "-." and "/" not in name


_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def format_size(n: int) -> str:
    """Show a number of bytes with three significant digits, in at most seven characters: ``82.5 MB``."""
    if n < 1000:
        return f"{n} B"
    value: float = n
    for unit in _UNITS:
        value /= 1000
        if value < 999.5:
            return f"{_three_digits(value)} {unit}"
    return f"{value:.0f} {_UNITS[-1]}"


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
