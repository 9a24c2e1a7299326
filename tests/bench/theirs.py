"""The peers: the best command of each for the job, and what it checks."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.bench import listings
from tests.bench.scene import HASH, HASH_SEEN, NOTHING, SIZE, Command, Contender, Scene

# Programs that only start


def only_start(name: str, tool: str, *arguments: str) -> Contender:
    """A program that does next to nothing."""
    return Contender(
        name, (tool,), NOTHING, lambda scene: Command((scene.tools[tool], *arguments)), files=None
    )


def connecting(name: str, tool: str, *arguments: str) -> Contender:
    """From the start of a program to its first connection to the URL that is its last argument."""

    def build(scene: Scene) -> Command:
        url = f"{scene.address.files}/{scene.material.files[0].path}"
        return Command((scene.tools[tool], *arguments, url), until="connect")

    return Contender(name, (tool,), NOTHING, build, files=None)


# Hugging Face


def hf(name: str) -> Contender:
    """``hf download`` of the same files from a Hub on the same server, into a directory."""
    return Contender(name, ("hf",), SIZE, lambda scene: _hf(scene, "--local-dir", str(scene.target)))


def hf_cached(name: str) -> Contender:
    """``hf download`` into its cache, where everything is already."""

    def build(scene: Scene) -> Command:
        return _hf(scene, "--cache-dir", str(scene.target))

    return Contender(name, ("hf",), NOTHING, build, prepare=build, files=None)


def _hf(scene: Scene, *where: str) -> Command:
    argv = (scene.tools["hf"], "download", scene.address.repository, "--revision", scene.address.revision)
    env = {
        "HF_ENDPOINT": scene.address.hub,
        "HF_HOME": str(scene.home / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return Command((*argv, *where), env)


# curl, wget2 and aria2c, alone and with a second program that checks


def curl(name: str, then: str = "") -> Contender:
    """``curl``, eight files at a time."""
    return _shell(name, _CURL, then)


def wget2(name: str, then: str = "") -> Contender:
    """``wget2``, eight threads."""
    return _shell(name, _WGET2, then)


def aria2c(name: str, *, checksum: bool = False, then: str = "") -> Contender:
    """``aria2c``, 16 files and 16 connections for each at a time."""
    return _shell(name, _ARIA2C_SUMS if checksum else _ARIA2C, then, HASH if checksum else SIZE)


_CURL = (
    "{curl} -s -f --http1.1 -Z --parallel-immediate --parallel-max 8 --create-dirs "
    "--cacert {certificate} -K {lists[curl]}"
)
_WGET2 = "{wget2} -q -x -nH --cut-dirs=2 --max-threads=8 --ca-certificate={certificate} -i {lists[urls]}"
_ARIA2 = (
    "{aria2c} -q --no-conf --ca-certificate={certificate} --file-allocation=falloc -j16 -x16 -s16 -k1M -i "
)
_ARIA2C, _ARIA2C_SUMS = _ARIA2 + "{lists[aria2]}", _ARIA2 + "{lists[aria2-sums]}"

_SECOND = {
    "openssl": "{xargs} -P2 -n1 {openssl} dgst -sha256 <{lists[paths]}",
    "sha256sum": "{sha256sum} --quiet -c {lists[sums]}",
}
_SECOND_CHECKS = {"openssl": HASH_SEEN, "sha256sum": HASH}


def _shell(name: str, template: str, then: str, checks: str = SIZE) -> Contender:
    own = template[1 : template.index("}")]
    script = f"{template} && {_SECOND[then]}" if then else f"exec {template}"
    checked = _SECOND_CHECKS[then] if then else checks
    needs = (own, "sh", *((then,) if then else ()), *(("xargs",) if then == "openssl" else ()))
    return Contender(name, needs, checked, lambda scene: _script(scene, script))


def _script(scene: Scene, template: str) -> Command:
    tools = {name: shlex.quote(path) for name, path in scene.tools.items()}
    text = template.format(**tools, certificate=shlex.quote(str(scene.certificate)), lists=_Quoted(scene))
    return Command((scene.tools["sh"], "-c", text))


@dataclass(frozen=True, slots=True)
class _Quoted:
    """The listings of a scene by name, for templates."""

    scene: Scene

    def __getitem__(self, name: str) -> str:
        return self.scene.quoted(name)


# Only checking


def checking(name: str, then: str, template: str = "") -> Contender:
    """A program that hashes the files where they lie."""
    script = template or _SECOND[then]
    needs = (then, "sh", "xargs")
    checks = _SECOND_CHECKS[then]
    return Contender(name, needs, checks, lambda scene: _script(scene, script), files=None, at_source=True)


# Libraries

_PEERS = Path(__file__).with_name("peers")


def pooch(name: str) -> Contender:
    """``pooch.retrieve`` with a known hash, one file after the other."""
    return _library(name, "pooch")


def requests(name: str, material: str = "") -> Contender:
    """``requests`` in eight threads, hashing as it goes; see `ours.fetch` for ``material``."""
    return _library(name, "requests", material)


def _library(name: str, library: str, material: str = "") -> Contender:
    def build(scene: Scene) -> Command:
        script, listing = str(_PEERS / f"with_{library}.py"), str(scene.lists / listings.JSON)
        argv = (scene.tools[library], script, listing, str(scene.target))
        return Command(argv, {"REQUESTS_CA_BUNDLE": str(scene.certificate)})

    return Contender(name, (library,), HASH, build, material=material)
