"""The other side: the origins of a schedule, in a process of their own, so that a run can be killed alone."""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import ExitStack
from typing import NoReturn, Self

from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
from tests.campaign.schedules.schedule import NAME, Place, Schedule
from tests.origin import Origin, refusing_port

REVISION = "0123456789" * 4


class Stage:
    """Origins in a child process; ends when it is left."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._orders, self._answers = os.pipe(), os.pipe()
        self._child = os.fork()
        if not self._child:
            self._serve()
        os.close(self._orders[0])
        os.close(self._answers[1])
        self._told = os.fdopen(self._answers[0])
        self._endpoints: dict[str, str] = json.loads(self._told.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._orders[1])
        self._told.close()
        os.waitpid(self._child, 0)

    def heal(self) -> None:
        """Let every place be good that is alive."""
        self._order("heal")

    def errors(self) -> list[str]:
        """What went wrong with the origins themselves."""
        return json.loads(self._order("errors"))  # type: ignore[no-any-return]

    def _order(self, word: str) -> str:
        os.write(self._orders[1], f"{word}\n".encode())
        return self._told.readline()

    def endpoint(self, place: Place) -> str:
        return self._endpoints["dead" if place.character == "dead" else str(place.host)]

    def manifest(self) -> Manifest:
        """The manifest that names every place."""
        places = self._schedule.places
        files = tuple(
            FileSpec(path, content.size, content.sha256, cid=content.cid, urls=self._urls(path))
            for path, content in self._schedule.contents.items()
        )
        mirrors = [self._below(place, "{path}") for place in places if place.kind == "mirror"]
        repo = HuggingFaceRepo(f"origin/{NAME}", REVISION) if self.hub() else None
        return Manifest(NAME, "1", files, license="MIT", huggingface=repo, mirrors=tuple(mirrors))

    def hub(self) -> str | None:
        """Endpoint of the Hugging Face shape."""
        hubs = (self.endpoint(each) for each in self._schedule.places if each.kind == "huggingface")
        return next(hubs, None)

    def gateways(self) -> list[str]:
        return [self.endpoint(place) for place in self._schedule.places if place.kind == "ipfs"]

    def _urls(self, path: str) -> tuple[str, ...]:
        return tuple(self._below(place, path) for place in self._schedule.places if place.kind == "url")

    def _below(self, place: Place, path: str) -> str:
        return f"{self.endpoint(place)}/files/p{place.number}/{path}"

    # In the child

    def _serve(self) -> NoReturn:
        os.close(self._orders[1])
        os.close(self._answers[0])
        code = 0
        try:
            with ExitStack() as stack, os.fdopen(self._orders[0]) as orders:
                self._obey(stack, orders)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            code = 1
        os._exit(code)

    def _obey(self, stack: ExitStack, orders: object) -> None:
        hosts = sorted({place.host for place in self._schedule.places})
        origins = {host: stack.enter_context(Origin()) for host in hosts}
        endpoints = {str(host): origin.endpoint for host, origin in origins.items()}
        endpoints["dead"] = f"http://127.0.0.1:{stack.enter_context(refusing_port())}"
        for place in self._schedule.places:
            _set_up(origins[place.host], place, self._schedule)
        self._answer(endpoints)
        for order in orders:  # type: ignore[attr-defined]
            if order == "heal\n":
                for origin in origins.values():
                    origin.heal()
            self._answer([repr(error) for origin in origins.values() for error in origin.errors])
        stack.pop_all()  # who is served still may be left as it is: the process ends

    def _answer(self, told: object) -> None:
        os.write(self._answers[1], (json.dumps(told) + "\n").encode())


def _set_up(origin: Origin, place: Place, schedule: Schedule) -> None:
    for path, content in schedule.contents.items():
        origin.add(f"p{place.number}/{path}", content)
        origin.add(path, content, scope=NAME)
    for trouble in place.troubles:
        origin.fault(
            place.pattern, trouble.fault, times=trouble.times, after=trouble.after, when=trouble.wants()
        )
