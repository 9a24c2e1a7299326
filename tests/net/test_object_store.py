"""What a run waits for before it has a client of an object store."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.model.object_address import parse_object_url
from modelfetch.net import object_credentials
from modelfetch.net.object_store import ObjectStores
from modelfetch.net.time_limits import Limits
from tests.patience import HELD, IN_TIME

pytest.importorskip("obstore")


def test_a_run_that_is_cancelled_does_not_wait_for_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = Cancellation()
    stores = ObjectStores(Limits(), cancel, environ={"HOME": str(tmp_path)})
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(object_credentials, "_METADATA_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(object_credentials, "_METADATA_SECONDS", HELD)
        begun = threading.Barrier(3)

        def ask() -> None:
            begun.wait(IN_TIME)
            stores.head(parse_object_url("s3://bucket/key"))

        asks = [pool.submit(ask) for _ in range(2)]
        begun.wait(IN_TIME)
        connection, _ = silent.accept()
        with connection:
            cancel.cancel()
            for each in asks:
                with pytest.raises(Cancelled):
                    each.result(IN_TIME)
