"""The project's dataclass keeps what the standard one promises."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
from dataclasses import FrozenInstanceError, asdict, fields
from typing import ClassVar

import pytest

from modelfetch.lazy_dataclass import dataclass, field, replace
from tests.patience import IN_TIME


@dataclass(frozen=True, slots=True)
class Point:
    """A value."""

    kind: ClassVar[str] = "point"
    x: int
    y: int = 0
    names: list[str] = field(default_factory=list, compare=False)
    secret: str = field(default="", repr=False)

    @property
    def length(self) -> int:
        """How far it is."""
        return self.x + self.y


@dataclass(frozen=True, slots=True)
class Place:
    """Another one, with the same fields to compare."""

    x: int
    y: int = 0
    secret: str = ""


@dataclass(slots=True)
class Counter:
    """Something that changes."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """One with its own words."""

    name: str

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return "named"

    def __hash__(self) -> int:
        return 7


def test_replace_copies_with_other_values() -> None:
    point = Point(1, names=["a"])
    assert replace(point, x=2) == Point(2)
    assert replace(point, x=2).names is point.names
    with pytest.raises(TypeError):
        replace(point, z=1)  # type: ignore[call-arg]


def test_fields_have_the_options_that_were_given() -> None:
    options = {each.name: (each.compare, each.repr) for each in fields(Point)}
    assert options == {"x": (True, True), "y": (True, True), "names": (False, True), "secret": (True, False)}


def test_it_is_made_from_positions_names_and_defaults() -> None:
    point = Point(1, secret="s")
    assert (point.x, point.y, point.names, point.secret, point.length, point.kind) == (
        1,
        0,
        [],
        "s",
        1,
        "point",
    )
    assert Point(1).names is not Point(1).names


@pytest.mark.parametrize("arguments", [(), (1, 2, [], "", 5)])
def test_too_few_and_too_many_arguments_are_errors(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError, match="__init__"):
        Point(*arguments)  # type: ignore[arg-type]


def test_a_frozen_one_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del point.x
    with pytest.raises(AttributeError):
        point.z = 2  # type: ignore[attr-defined]
    assert point == Point(1)


def test_another_one_can_but_has_no_other_attributes() -> None:
    counter = Counter()
    counter.count += 1
    assert counter == Counter(1)
    with pytest.raises(AttributeError):
        counter.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)


def test_equality_goes_by_class_and_compared_fields() -> None:
    assert Point(1, 2, ["a"]) == Point(1, 2, ["b"])
    assert hash(Point(1, 2, ["a"])) == hash(Point(1, 2, ["b"]))
    assert Point(1, 2) != Point(2, 1)
    assert Point(1, 2) != Place(1, 2)  # type: ignore[comparison-overlap]
    assert {Point(1), Point(1), Point(2)} == {Point(2), Point(1)}


def test_what_is_shown_leaves_out_what_shall_not_be() -> None:
    assert repr(Point(1, secret="s")) == "Point(x=1, y=0, names=[])"


def test_what_a_class_defines_itself_stays() -> None:
    assert (str(Named("a")), repr(Named("a")), hash(Named("a"))) == ("a", "named", 7)
    assert Named("a") == Named("a")


def test_the_functions_for_dataclasses_work() -> None:
    point = Point(1, 2, ["a"])
    assert asdict(point) == {"x": 1, "y": 2, "names": ["a"], "secret": ""}
    assert replace(point, x=5) == Point(5, 2)
    assert [each.name for each in fields(Point)] == ["x", "y", "names", "secret"]
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)


@pytest.mark.parametrize("value", [Point(1, 2, ["a"]), Counter(3)])
def test_it_can_be_copied_and_pickled(value: object) -> None:
    copies = [copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))]
    assert copies == [value] * 3


def test_tools_see_the_constructor_of_one_that_was_not_used_yet() -> None:
    @dataclass(frozen=True, slots=True)
    class Unused:
        """A value."""

        x: int
        y: int = 0

    assert str(inspect.signature(Unused)) == "(x, y=0)"
    assert Unused.__doc__ == "A value."
    assert Unused.__qualname__.endswith(".Unused")


def test_a_class_that_extends_one_may_be_the_first_to_be_used() -> None:
    @dataclass(frozen=True, slots=True)
    class Base:
        x: int

    class Extended(Base):
        pass

    assert Extended(1).x == 1
    assert Base(1) != Extended(1)
    assert repr(Base(1)).endswith("Base(x=1)")


@pytest.mark.slow
def test_many_threads_may_be_the_first_to_use_one() -> None:
    def first_use() -> list[list[str]]:
        @dataclass(slots=True)
        class Shared:
            names: list[str] = field(default_factory=list)

        together, made = threading.Barrier(4), []

        def use() -> None:
            together.wait(IN_TIME)
            made.append(Shared())

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(IN_TIME)
        return [each.names for each in made]

    for _ in range(50):
        assert first_use() == [[]] * 4
