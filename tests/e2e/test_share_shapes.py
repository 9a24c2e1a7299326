"""One machine uses the shared cache of another: as its hub, registry, gateway, and for its pins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.lazy_dataclass import replace
from modelfetch.model.write import manifest_toml
from tests.e2e.command import InProcess
from tests.server.shapes import Shapes
from tests.share.home import BIG, COMMIT, CONTENTS, Home, built, digest, model
from tests.share.test_shared_blocks import directory_of


@pytest.fixture
def shapes(tmp_path: Path) -> Iterator[Shapes]:
    home = Home(tmp_path / "server")
    home.place(replace(model(), ipfs_cid=directory_of(CONTENTS).text))
    with Shapes(home) as server:
        yield server


@pytest.fixture
def cli(tmp_path: Path, shapes: Shapes) -> InProcess:
    command = InProcess(tmp_path / "home")
    command.environment["HF_ENDPOINT"] = f"http://127.0.0.1:{shapes.port}"
    return command


def ensure(cli: InProcess, *options: str) -> None:
    done = cli("ensure", "tiny", *options)
    assert done.code == 0, done.err
    directory = Path(done.out.strip())
    assert {path: (directory / path).read_bytes() for path in CONTENTS} == CONTENTS


def counted(shapes: Shapes, endpoint: str) -> int:
    """The bytes that an endpoint sent."""
    assert shapes.share_state is not None
    return int(shapes.share_state.counters.snapshot()["endpoints"][endpoint]["bytes"])


def test_as_the_hub(cli: InProcess, shapes: Shapes) -> None:
    (cli.catalog / "tiny.toml").write_text(manifest_toml(model()))
    ensure(cli, "--only", "huggingface")
    assert counted(shapes, "huggingface") == sum(map(len, CONTENTS.values()))


@pytest.mark.slow
def test_as_a_registry(cli: InProcess, shapes: Shapes) -> None:
    pinned = model(repo="", oci=f"127.0.0.1:{shapes.port}/tiny")
    (cli.catalog / "tiny.toml").write_text(manifest_toml(pinned))
    ensure(cli, "--only", "oci")
    assert counted(shapes, "registry") == sum(map(len, CONTENTS.values()))


@pytest.mark.quick(1)
@pytest.mark.parametrize("by", ["files", "directory"])
def test_as_a_gateway(cli: InProcess, shapes: Shapes, by: str) -> None:
    pinned = model(repo="")
    if by == "directory":
        pinned = replace(pinned, ipfs_cid=directory_of(CONTENTS).text)
    else:
        cids = {path: built(content).root.text for path, content in CONTENTS.items()}
        files = tuple(replace(file, cid=cids[file.path]) for file in pinned.files)
        pinned = replace(pinned, files=files)
    (cli.catalog / "tiny.toml").write_text(manifest_toml(pinned))
    cli.environment["MODELFETCH_IPFS_GATEWAYS"] = f"http://127.0.0.1:{shapes.port}"
    ensure(cli, "--only", "ipfs")
    assert counted(shapes, "ipfs") >= len(BIG)


@pytest.mark.slow
def test_to_pin_what_it_has(cli: InProcess) -> None:
    done = cli("add", "hf:org/tiny", "--json")
    assert done.code == 0, done.err
    done = cli("show", "tiny", "--json")
    document = done.document
    assert document["huggingface"]["revision"] == COMMIT
    assert {file["path"]: file["sha256"] for file in document["files"]} == {
        path: digest(content) for path, content in CONTENTS.items()
    }


@pytest.mark.slow
def test_to_pin_its_artifact(cli: InProcess, shapes: Shapes) -> None:
    done = cli("ensure", f"oci:127.0.0.1:{shapes.port}/tiny:latest")
    assert done.code == 0, done.err
    directory = Path(done.out.strip())
    assert {path: (directory / path).read_bytes() for path in CONTENTS} == CONTENTS
