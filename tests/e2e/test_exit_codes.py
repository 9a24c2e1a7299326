"""Every exit code, and with each the last two lines: what happened, what to do next."""

from __future__ import annotations

import re

import pytest

from tests.e2e.command import Command, assert_fails
from tests.origin import Origin, model, refusing_port

pytestmark = pytest.mark.slow  # real processes, one after the other


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ensure", "--frobnicate", "m"), "--frobnicate"),
        (("ensure",), "no model is named"),
        (("ensure", "demo", "--only", "mirrors"), "Did you mean 'mirror'?"),
    ],
)
def test_2_the_call_is_wrong(cli: Command, arguments: tuple[str, ...], words: str) -> None:
    assert_fails(cli(*arguments), 2, words)
    assert not cli.cache.exists()


def test_2_settings_are_wrong_and_each_is_told_with_its_place_and_key(cli: Command) -> None:
    file = cli.work / "modelfetch.toml"
    file.write_text('[network]\nfiles = 0\nstall_timeou = 3\n[retry]\nbase = "x"\n')
    result = cli("list", MODELFETCH_RETRY_CAP="soon")
    assert_fails(result, 2, "4 settings are wrong")
    assert all(result.stderr_lines(f"{file}: {key}") for key in ("network.files", "retry.base"))
    assert result.stderr_lines(str(file), "network.stall_timeou", "Did you mean 'stall_timeout'?")
    assert result.stderr_lines("environment MODELFETCH_RETRY_CAP")


def test_3_an_unknown_model(cli: Command) -> None:
    assert_fails(cli("ensure", "whisper-bas"), 3, "'whisper-bas'", "Did you mean 'whisper-base'?")


def test_3_a_bad_manifest_and_all_its_faults(cli: Command) -> None:
    path = cli.catalog / "m.toml"
    path.write_text(
        'schema = 1\nname = "m"\nversoin = "1"\n[[files]]\npath = "../x"\nsize = -1\nsha256 = "a"\n'
    )
    result = cli("ensure", "m")
    assert_fails(result, 3, str(path))
    for key in ("versoin", "version", "files[0].path", "files[0].size", "files[0].sha256"):
        assert result.stderr_lines(str(path), f"{key}: "), key
    assert result.stderr_lines("Did you mean 'version'?")


def test_4_missing_and_offline(cli: Command, origin: Origin) -> None:
    cli.serve(model(origin, {"a.bin": 1000, "b.bin": 1}, catalog=cli.catalog))
    assert_fails(cli("ensure", "m", "--offline"), 4, "1 more file", "without --offline")
    assert origin.requests == []


def test_6_nobody_is_there(cli: Command, origin: Origin) -> None:
    with refusing_port() as port:
        cli.serve(
            model(origin, {"a.bin": 1000}, mirrors=[f"http://127.0.0.1:{port}/{{path}}"], catalog=cli.catalog)
        )
        result = cli("ensure", "m", HF_ENDPOINT=f"http://127.0.0.1:{port}")
        assert_fails(result, 6, f"(127.0.0.1:{port}: connection refused)", "the server runs")


def test_7_the_cache_cannot_be_written(cli: Command, origin: Origin) -> None:
    cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    cli.cache.write_text("a file, where a directory should be")
    assert_fails(cli("ensure", "m"), 7, str(cli.cache))
    assert origin.requests == []


def test_7_a_model_that_does_not_fit_is_refused_before_the_first_byte(cli: Command, origin: Origin) -> None:
    served = model(origin, {"a.bin": 1000}, catalog=cli.catalog)
    path = cli.catalog / "m.toml"
    path.write_text(re.sub(r"size = \d+", f"size = {2**62}", path.read_text()))
    cli.serve(served)
    assert_fails(cli("ensure", "m"), 7, "EB", str(cli.cache))
    assert origin.requests == []


def test_9_a_gated_model_without_a_token(cli: Command, origin: Origin) -> None:
    origin.require_token("hf_right")
    cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    assert_fails(cli("ensure", "m"), 9, "access refused (401)", "HF_TOKEN")
