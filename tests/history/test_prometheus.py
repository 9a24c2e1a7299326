"""The metrics in the text format of Prometheus, to the byte."""

from __future__ import annotations

import re

from modelfetch.history.metrics import prometheus
from tests.history.material import attempt, failure, hit, run
from tests.history.test_metrics import EXHAUSTED
from tests.history.test_metrics import ROWS as COMMON

ROWS = [
    *COMMON,
    attempt(host='evil"\n} 1\\', received=3_018_000_000_000),
    attempt(first_byte=None, seconds=0.25),
    failure("", source="url", host="files.example"),
    failure("server"),
    hit(),
    EXHAUSTED,
]
RUNS = [run(), run("r2", outcome="failed"), run("r3", operation="verify"), run("r4")]

TEXT = r"""
# HELP modelfetch_attempts Attempts by source and outcome.
# TYPE modelfetch_attempts gauge
modelfetch_attempts{source="huggingface",host="hf.example",outcome="success"} 1
modelfetch_attempts{source="ipfs",host="gate.example",outcome="error"} 1
modelfetch_attempts{source="ipfs",host="gate.example",outcome="success"} 1
modelfetch_attempts{source="ipfs",host="other.example",outcome="success"} 1
modelfetch_attempts{source="mirror",host="a.example",outcome="cancelled"} 1
modelfetch_attempts{source="mirror",host="a.example",outcome="error"} 2
modelfetch_attempts{source="mirror",host="a.example",outcome="success"} 1
modelfetch_attempts{source="mirror",host="evil\"\n} 1\\",outcome="success"} 1
modelfetch_attempts{source="url",host="files.example",outcome="error"} 1
# HELP modelfetch_faults Failed attempts by source and fault.
# TYPE modelfetch_faults gauge
modelfetch_faults{source="ipfs",host="gate.example",fault="server"} 1
modelfetch_faults{source="mirror",host="a.example",fault="hash"} 1
modelfetch_faults{source="mirror",host="a.example",fault="server"} 1
modelfetch_faults{source="url",host="files.example",fault=""} 1
# HELP modelfetch_received_bytes Bytes received by source.
# TYPE modelfetch_received_bytes gauge
modelfetch_received_bytes{source="huggingface",host="hf.example"} 1000000
modelfetch_received_bytes{source="ipfs",host="gate.example"} 1000000
modelfetch_received_bytes{source="ipfs",host="other.example"} 1000000
modelfetch_received_bytes{source="mirror",host="a.example"} 2000000
modelfetch_received_bytes{source="mirror",host="evil\"\n} 1\\"} 3018000000000
modelfetch_received_bytes{source="url",host="files.example"} 0
# HELP modelfetch_success_seconds Seconds spent in successes.
# TYPE modelfetch_success_seconds gauge
modelfetch_success_seconds{source="huggingface",host="hf.example"} 0.4
modelfetch_success_seconds{source="ipfs",host="gate.example"} 1
modelfetch_success_seconds{source="ipfs",host="other.example"} 2
modelfetch_success_seconds{source="mirror",host="a.example"} 0.25
modelfetch_success_seconds{source="mirror",host="evil\"\n} 1\\"} 1.1
# HELP modelfetch_first_byte_seconds Seconds spent until first bytes.
# TYPE modelfetch_first_byte_seconds gauge
modelfetch_first_byte_seconds{source="huggingface",host="hf.example"} 0.1
modelfetch_first_byte_seconds{source="ipfs",host="gate.example"} 0.1
modelfetch_first_byte_seconds{source="ipfs",host="other.example"} 0.1
modelfetch_first_byte_seconds{source="mirror",host="a.example"} 0.1
modelfetch_first_byte_seconds{source="mirror",host="evil\"\n} 1\\"} 0.1
# HELP modelfetch_first_bytes Attempts that had a first byte.
# TYPE modelfetch_first_bytes gauge
modelfetch_first_bytes{source="huggingface",host="hf.example"} 1
modelfetch_first_bytes{source="ipfs",host="gate.example"} 1
modelfetch_first_bytes{source="ipfs",host="other.example"} 1
modelfetch_first_bytes{source="mirror",host="a.example"} 1
modelfetch_first_bytes{source="mirror",host="evil\"\n} 1\\"} 1
# HELP modelfetch_cache_hits Files that were in the cache already.
# TYPE modelfetch_cache_hits gauge
modelfetch_cache_hits 2
# HELP modelfetch_exhausted_files Files that had no source left.
# TYPE modelfetch_exhausted_files gauge
modelfetch_exhausted_files 2
# HELP modelfetch_runs Runs by operation and outcome.
# TYPE modelfetch_runs gauge
modelfetch_runs{operation="ensure",outcome="completed"} 2
modelfetch_runs{operation="ensure",outcome="failed"} 1
modelfetch_runs{operation="verify",outcome="completed"} 1
""".lstrip()


def test_the_whole_text() -> None:
    assert prometheus(ROWS, RUNS) == TEXT


def test_every_line_is_well_formed_and_has_a_type() -> None:
    sample = re.compile(r'modelfetch_\w+(\{\w+="([^"\\\n]|\\.)*"(,\w+="([^"\\\n]|\\.)*")*\})? [0-9.e+]+')
    typed: set[str] = set()
    for line in prometheus(ROWS, RUNS).splitlines():
        if line.startswith("# TYPE"):
            typed.add(line.split()[2])
            assert line.endswith(" gauge")
        elif not line.startswith("# HELP"):
            assert sample.fullmatch(line)
            assert re.split(r"[{ ]", line)[0] in typed


def test_hostile_labels_cannot_make_lines() -> None:
    text = prometheus([attempt(host='evil"\n} 1\\')])
    assert 'host="evil\\"\\n} 1\\\\"' in text


def test_large_numbers_are_written_out() -> None:
    assert " 3018000000000\n" in prometheus([attempt(received=3_018_000_000_000)])


def test_without_attempts_there_are_zeros() -> None:
    assert "modelfetch_cache_hits 0\n" in prometheus([])
