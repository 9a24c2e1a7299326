"""The script that checks the built-in catalog accepts it and finds the faults of another one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import modelfetch
from modelfetch.catalog.builtin import BUILTIN

ROOT = Path(__file__).parents[2]
DIGEST = "a9f3b752833b49e880dec91ee5b6d936112be7c3ea07c221024ba493439f46fe"


def check(*arguments: str) -> tuple[int, list[str], str]:
    """Run the script on the package under test; give exit code, lines and stderr."""
    environment = os.environ | {"PYTHONPATH": str(Path(modelfetch.__file__).parent.parent), "PYTHONUTF8": "1"}
    script = str(ROOT / "tests" / "catalog" / "check_catalog.py")
    done = subprocess.run(
        [sys.executable, script, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_the_built_in_catalog_has_no_fault() -> None:
    code, lines, errors = check()
    assert (code, errors) == (0, "")
    [line] = lines
    assert line.endswith(": no fault")


def test_every_seeded_fault_is_found(tmp_path: Path) -> None:
    for name in ("whisper-base", "tts-models"):
        shutil.copy(BUILTIN / f"{name}.toml", tmp_path)
    tts = tmp_path / "tts-models.toml"
    tts.write_text(tts.read_text().replace("size   = 59339", 'size = 59339\ncid = "bafkqaaa"'))
    whisper = tmp_path / "whisper-base.toml"
    whisper.write_text(whisper.read_text().replace("82468078", "82468079"))
    copy = whisper.read_text().replace('"whisper-base"', '"whisper-copy"')
    (tmp_path / "whisper-copy.toml").write_text(copy.replace('title    = "W', 'title    = "w'))
    (tmp_path / "broken.toml").write_text("schema = 1\n")
    (tmp_path / "faulty.toml").write_text(f"""
schema = 1
name = "faulty"
version = "1"
license = "AGPL-3.0"
[[files]]
path = "nowhere"
size = 0
sha256 = "{"0" * 64}"
[[files]]
path = "twin"
size = 82468078
sha256 = "{DIGEST}"
cid = "bafybroken"
urls = [
  "http://example.org/x",
  "https://example.org/x?token=1",
  "https://example.org/resolve/main/x",
  "https://raw.githubusercontent.com/o/r/main/x",
  "https://example.org/{"1" * 64}",
]
""")
    (tmp_path / "_index.toml").write_text("""
[aliases]
tts-models = "whisper-base"
gone = "nothing"
[license_notices]
whisper-base = "Needless."
""")
    code, lines, errors = check(str(tmp_path))
    assert (code, errors) == (1, "")
    assert sorted(lines) == sorted(
        [
            "broken.toml: name: missing",
            "broken.toml: version: missing",
            "broken.toml: files: missing",
            "faulty.toml: title: missing",
            "faulty.toml: homepage: missing",
            "faulty.toml: task: missing",
            "faulty.toml: format: missing",
            "faulty.toml: version: must be 53a93d793e48, from the revision or else from the identity",
            "faulty.toml: nowhere: size: must be positive",
            "faulty.toml: nowhere: has no source",
            "faulty.toml: twin: cid: is not valid base 32",
            "faulty.toml: twin: http://example.org/x: is not https",
            "faulty.toml: twin: https://example.org/x?token=1: has a query",
            "faulty.toml: twin: urls: an address on a branch stands before a pinned one",
            "faulty.toml: twin: https://raw.githubusercontent.com/o/r/main/x: has no full commit in its path",
            f"faulty.toml: twin: https://example.org/{'1' * 64}: contains another digest than the file's",
            "whisper-base.toml: onnx/encoder_model.onnx: size differs from that of faulty: twin, same sha256",
            "whisper-copy.toml: onnx/encoder_model.onnx: size differs from that of faulty: twin, same sha256",
            "whisper-copy.toml: title: is also that of whisper-base",
            "tts-models.toml: tokenizer.model: cid: is not the raw CID of the file's sha256",
            "_index.toml: alias tts-models is the name of a model",
            "_index.toml: alias gone stands for nothing, which is no model",
            "_index.toml: faulty needs a license notice",
            "_index.toml: tts-models needs a license notice",
            "_index.toml: whisper-base needs no license notice",
        ]
    )


def test_a_model_with_an_origin_of_its_own_needs_no_source(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(f"""
schema = 1
name = "demo"
version = "1"
title = "Demo"
task = "other"
format = "other"
license = "Apache-2.0"
[[files]]
path = "a"
size = 1
sha256 = "{DIGEST}"
""")
    (tmp_path / "_index.toml").write_text("[aliases]\n[license_notices]\n")
    assert check(str(tmp_path)) == (0, ["1 models, 1 files, 1 distinct, 1 B: no fault"], "")
