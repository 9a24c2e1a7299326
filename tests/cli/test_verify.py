"""The option --sample of the command verify: what it cannot be combined with, and what it says."""

from __future__ import annotations

import pytest

from modelfetch.cli.run import _say_chance
from modelfetch.cli.verify import verify
from modelfetch.errors import UsageError
from modelfetch.model.manifest import FileSpec, Manifest


def test_a_sample_of_files_that_are_not_read_is_refused() -> None:
    with pytest.raises(UsageError, match="--sample cannot be used together with --quick"):
        verify(["m"], quick=True, sample=20)


@pytest.mark.parametrize(("sample", "said"), [(150, "99.9%"), (199, "100.0%")])
def test_a_chance_is_never_called_certainty(
    sample: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = FileSpec("model.bin", 208_521_528, "0" * 64)
    _say_chance([Manifest("m", "1", (file,))], sample)
    assert capsys.readouterr().err.rstrip().endswith(f"probability of at least {said}")
