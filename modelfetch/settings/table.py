"""The table of settings: the only place that describes them.

The rows about other machines are in :mod:`modelfetch.settings.machines_table`.

Each row has the section and key in TOML, the form of the value, the default, the meaning with its unit, and
the reason for the default. Everything else is derived from the rows: the environment variable and the name
on the command line (:class:`~modelfetch.settings.types.Setting`), what files, environment and flags may set
(:mod:`modelfetch.settings.layers`), ``config show`` and ``config set``, and the tables of
``docs/reference/configuration.md``, which a test compares with the rows.

For example, the row ``network``, ``files`` is ``files = 8`` under ``[network]`` in a file,
``MODELFETCH_NETWORK_FILES=8`` in the environment and ``--files 8`` on the command line.
"""

from __future__ import annotations

from typing import Final, get_args

from modelfetch.model.source_kinds import SourceKind
from modelfetch.settings.machines_table import MACHINES, PARALLEL
from modelfetch.settings.redaction import endpoint, gateway, peer, template
from modelfetch.settings.types import (
    NONE,
    Address,
    Addresses,
    Choice,
    Directories,
    Directory,
    Flag,
    Integer,
    Kinds,
    Number,
    Rate,
    Setting,
    Size,
)
from modelfetch.settings.values import ChunkMapMode

GATEWAYS: Final = ("https://gateway.pinata.cloud", "https://ipfs.filebase.io", "https://ipfs.4everland.io")
"""Public path gateways of three independent operators that serve whole files to programs.

Not in the list: cloudflare-ipfs.com (shut down in August 2024); w3s.link and nftstorage.link (they only
redirect to dweb.link); ipfs.io and dweb.link (one operator; since 21 September 2026 they answer programs with
429 and a ``Sunset`` header, see gatewaychanges.ipfs.io); trustless-gateway.link (the same operator; raw
blocks and CAR only, 406 for a file); a local node at http://127.0.0.1:8080 (any program may listen on that
port, so users with a node add it themselves).
"""

ENVIRONMENT: Final = {
    "MODELFETCH_CONFIG": "The user's configuration file.",
    "MODELFETCH_CATALOG": "Catalogs that win over others: directories or TOML files, separated as in PATH.",
    "MODELFETCH_SERVE_TOKEN": "The token of `modelfetch serve`, for the server and its clients.",
    "MODELFETCH_SERVER": "The server of `jobs`, `attach`, `cancel` and `retry`, as with `--server`.",
    "MODELFETCH_VERBOSE": "1 or 2, as with `-v` or `-vv`, for every command.",
}
"""Variables of modelfetch that no file may set, with their meaning."""

# 86,400 seconds are a day, 36,500 days are a hundred years.
_SECONDS: Final = Number(0, 86_400, above=True)
_DAYS: Final = Integer(0, 36_500)
_KINDS: Final = tuple(kind.value for kind in SourceKind)

SETTINGS: Final = (
    Setting(
        "sources",
        "order",
        Kinds(_KINDS),
        list(_KINDS),
        "Kinds of sources to use, in the order they are tried; a kind left out is never used.",
        "nearest first; shared public services last",
    ),
    Setting(
        "sources",
        "mirrors",
        Addresses("a list of URL templates", template),
        [],
        "URL templates of mirrors, also s3://, gs://, az://; with {path}, {sha256}, {name} and {version}.",
        "no mirror is known to serve every model",
    ),
    Setting(
        "sources",
        "peers",
        Addresses("a list of addresses HOST, HOST:PORT or http(s)://HOST:PORT", peer),
        [],
        "Machines that run `modelfetch serve --share`; they are asked for files by SHA-256.",
        "which machines are near is known only to who runs them",
        project="never",
    ),
    Setting(
        "sources",
        "local",
        Directories(),
        [],
        "Directories and bundles on this machine that are searched for the same bytes, by size and SHA-256.",
        "known caches are found without it; other directories are the choice of their owner",
        project="never",
    ),
    Setting(
        "ipfs",
        "gateways",
        Addresses("a list of gateway addresses", gateway),
        list(GATEWAYS),
        "IPFS path gateways, requested as `GATEWAY/ipfs/CID`; an empty list turns IPFS off.",
        "three independent operators; put a node of your own first",
    ),
    Setting(
        "huggingface",
        "endpoint",
        Address("an http(s) address", endpoint),
        "https://huggingface.co",
        "Hugging Face, or a mirror with the same paths; the only origin that is sent the token.",
        "where the pinned revisions are published",
    ),
    Setting(
        "modelscope",
        "endpoint",
        Address("an http(s) address", endpoint),
        "https://modelscope.cn",
        "ModelScope; https://www.modelscope.ai is another site. The only origin that is sent its token.",
        "the site with most repositories, and the default of its libraries",
    ),
    Setting(
        "network",
        "files",
        PARALLEL,
        4,
        "Files fetched at the same time.",
        "more files at once only share the same bandwidth",
        flag="--files",
    ),
    Setting(
        "network",
        "connections",
        PARALLEL,
        4,
        "Connections to one file at the same time, where a single one is slow.",
        "some hosts limit each connection; more than a few look like abuse",
        flag="--connections",
    ),
    Setting(
        "network",
        "connect_timeout",
        _SECONDS,
        10,
        "Seconds to establish a connection, including all addresses of a host and all redirects.",
        "addresses are tried a quarter of a second apart",
        project="at most",
    ),
    Setting(
        "network",
        "stall_timeout",
        _SECONDS,
        30,
        "Seconds without a byte of the file after which a source is given up, whatever else it sends.",
        "a blocked read ends only at this limit, so it also bounds a slow cancel",
        project="at most",
    ),
    Setting(
        "network",
        "min_speed",
        Rate(),
        "1 KiB",
        "Slowest transfer that may continue, in bytes per second; 0 turns this limit off.",
        "at less than that, 100 MB take more than a day",
        project="at least",
    ),
    Setting(
        "network",
        "limit_rate",
        Rate(limitless=True),
        NONE,
        "Most bytes per second over all connections together; none or 0 means no limit.",
        "users usually wait for the model",
        flag="--limit-rate",
        project="at most",
    ),
    Setting(
        "retry",
        "attempts",
        Integer(1, 100),
        5,
        "Attempts of one source for one file before the next source; 8 MiB of new data reset the count.",
        "four delays, 7.5 seconds at most, outlast a restart; after that another source is faster",
        project="at most",
    ),
    Setting(
        "retry",
        "base",
        _SECONDS,
        0.5,
        "Upper bound of the first retry delay, in seconds; doubles with each attempt (full jitter).",
        "a lost connection usually works again within a second",
        project="at most",
    ),
    Setting(
        "retry",
        "cap",
        _SECONDS,
        30,
        "Longest retry delay, in seconds, unless a server sends Retry-After.",
        "longer delays look like a hang",
        project="at most",
    ),
    Setting(
        "retry",
        "retry_after_cap",
        Number(0, 86_400),
        300,
        "Longest Retry-After of a server that is waited for, in seconds.",
        "rate limits of public services reset within five minutes",
        project="at most",
    ),
    Setting(
        "cache",
        "fsync",
        Flag(),
        True,
        "Whether files are synced to disk before they get their final name.",
        "without it a power cut can leave empty files under final names; it costs about 0.25 s per GiB",
        project="never",
    ),
    Setting(
        "cache",
        "partial_days",
        _DAYS,
        7,
        "Days to keep an interrupted download for resuming.",
        "a week covers an interrupted working week",
        project="never",
    ),
    Setting(
        "cache",
        "quarantine_days",
        _DAYS,
        7,
        "Days to keep data that failed verification for inspection.",
        "enough time to inspect it; it is never used",
        project="never",
    ),
    Setting(
        "cache",
        "version_days",
        _DAYS,
        90,
        "Days to keep a version after a newer version of the same model was fetched.",
        "going back within a quarter needs no network",
        project="never",
    ),
    Setting(
        "cache",
        "warn_size",
        Size(),
        "20 GiB",
        "Size of the cache, in bytes, above which a warning is printed; 0 turns it off.",
        "a noticeable share of a laptop's disk",
        project="never",
    ),
    Setting(
        "cache",
        "max_age_days",
        _DAYS,
        90,
        "Days after which a check for a newer version upstream is due; 0 means never.",
        "pins are exact, so age is a hint and never an error",
        project="never",
    ),
    Setting(
        "cache",
        "stale_days",
        _DAYS,
        7,
        "Days past that age during which a failed check is not flagged.",
        "an upstream may be down for a week",
        project="never",
    ),
    Setting(
        "cache",
        "chunk_maps",
        Choice(get_args(ChunkMapMode)),
        "auto",
        "Whether the SHA-256 of each MiB of a large file is stored too; auto: if that takes no time.",
        "the map gives the file's CID and locates damage, but must not slow down a fetch",
        project="never",
    ),
    Setting(
        "history",
        "days",
        _DAYS,
        30,
        "Days to keep the history of runs and sources; 0 keeps none.",
        "a month shows what changed; host health depends on the last days anyway",
        project="never",
    ),
    *MACHINES,
)
"""Every setting, in the order of the reference page."""

RUN_SETTINGS: Final = (
    Setting(
        "",
        "cache_dir",
        Directory(),
        "",
        "Directory of the cache; empty means the standard cache directory of the system.",
        "a project must not choose where files are written",
        flag="--cache-dir",
    ),
    Setting(
        "",
        "offline",
        Flag(),
        False,
        "Whether the network must not be used at all.",
        "missing files usually have to be fetched",
        flag="--offline",
    ),
)
"""Settings that a flag or a variable may set, but no file."""

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
"""Settings by ``section.key``."""

BY_VARIABLE: Final = {setting.variable: setting for setting in (*SETTINGS, *RUN_SETTINGS)}
"""Settings by environment variable."""

SECTIONS: Final = tuple(dict.fromkeys(setting.section for setting in SETTINGS))
"""The names of the TOML tables."""


def keys(section: str) -> tuple[str, ...]:
    """Return the keys of one section, in the order of the table."""
    return tuple(setting.key for setting in SETTINGS if setting.section == section)
