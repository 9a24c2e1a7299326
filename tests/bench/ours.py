"""modelfetch as a contender: fetching, warm, verifying, starting."""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench import listings
from tests.bench.material import Material
from tests.bench.scene import HASH, NOTHING, STAMP, Command, Contender, Scene

NO_SYNC: Mapping[str, str] = {"MODELFETCH_CACHE_FSYNC": "false"}
"""As the peers do: none of them forces anything to disk."""


def fetch(
    name: str,
    *options: str,
    env: Mapping[str, str] = NO_SYNC,
    terminal: bool = False,
    material: str = "",
) -> Contender:
    """``modelfetch ensure`` into an empty cache; ``material`` names other files than those of the work."""

    def build(scene: Scene) -> Command:
        argv = (scene.tools["modelfetch"], "ensure", *options, listings.model(scene.material))
        return Command(argv, _env(scene), "terminal" if terminal else "exit")

    return Contender(name, ("modelfetch",), HASH, build, env, files=_in_cache, material=material)


def _in_cache(material: Material) -> str:
    return f"models/{listings.model(material)}/{listings.VERSION}"


def _env(scene: Scene) -> dict[str, str]:
    cache = {
        "MODELFETCH_CACHE_DIR": str(scene.target),
        "MODELFETCH_CATALOG": str(scene.lists / listings.CATALOG),
    }
    return cache | (
        {"SSL_CERT_FILE": str(scene.certificate)} if scene.address.files.startswith("https") else {}
    )


def _ensure(scene: Scene) -> Command:
    return fetch("").build(scene)


def warm(name: str, *before: str) -> Contender:
    """``ensure`` with nothing to do; ``before`` is what comes after the interpreter, where that is named."""

    def build(scene: Scene) -> Command:
        start = [str(scene.lists / word) if word.endswith(".py") else word for word in before]
        program = [scene.tools["python"], *start] if start else [scene.tools["modelfetch"]]
        argv = (*program, "ensure", listings.model(scene.material))
        return Command(argv, _env(scene))

    return Contender(name, ("modelfetch", "python"), STAMP, build, prepare=_ensure, files=None)


def query(name: str, *arguments: str) -> Contender:
    """A command that reads what is known of a model that is there; its name is the last argument."""

    def build(scene: Scene) -> Command:
        named = (listings.model(scene.material),) if arguments[0] != "list" else ()
        return Command((scene.tools["modelfetch"], *arguments, *named), _env(scene))

    return Contender(name, ("modelfetch",), NOTHING, build, prepare=_ensure, files=None)


def verify(name: str) -> Contender:
    """``modelfetch verify`` of a model that is there."""

    def build(scene: Scene) -> Command:
        argv = (scene.tools["modelfetch"], "verify", listings.model(scene.material))
        return Command(argv, _env(scene))

    return Contender(name, ("modelfetch",), HASH, build, prepare=_ensure, files=None)


def first_connection(name: str) -> Contender:
    """From the start of ``ensure`` to its first connection."""

    def build(scene: Scene) -> Command:
        command = fetch("").build(scene)
        env = {name: value for name, value in command.env.items() if name != "SSL_CERT_FILE"}
        return Command(command.argv, env, "connect")  # with the system's certificates, as usual

    return Contender(name, ("modelfetch",), NOTHING, build, files=None)
