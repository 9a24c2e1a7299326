"""The dataclass of this project: the standard one with slots, worked out when it is first used.

Up to Python 3.12 the standard decorator compiles six functions for each class, half a millisecond in all.
This package has a hundred such classes on the way to its first request, and makes values of a third of them.
Here a class gets its slots at once, in a hundredth of a millisecond; its fields and its constructor are
worked out for the first who needs them, and what is the same for all classes is shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses
    import inspect
    from operator import attrgetter
    from threading import RLock

    _WORKING = RLock()

    def dataclass(*, slots, frozen=False):
        """Make a class a dataclass with slots; ``frozen`` is as for :func:`dataclasses.dataclass`.

        What the class defines itself is left as it is. It may not extend another dataclass.
        """
        assert slots, "the standard decorator is for classes without"
        shared = _SHARED | (_FROZEN if frozen else _CHANGEABLE)

        def decorate(cls):
            late = {name: _Late(cls, work_out) for name, work_out in _WORKED_OUT.items()}
            members = {**shared, **late, **_own(cls, implied=shared), "__slots__": tuple(_names(cls))}
            made = type(cls)(cls.__name__, cls.__bases__, members)
            made.__qualname__ = cls.__qualname__
            for name, each in late.items():
                each.belong(made, name)
            return made

        return decorate

    def _names(cls):
        """The names of the fields, in order."""
        notes = inspect.get_annotations(cls).items()
        return [name for name, note in notes if not note.startswith("ClassVar")]

    def _own(cls, implied):
        """What a class defines besides its fields; a None that is implied is that of ``__hash__``."""
        unwanted = {*_names(cls), *_STORAGE}
        return {
            name: found
            for name, found in vars(cls).items()
            if name not in unwanted and not (found is None and name in implied)
        }

    class _Late:
        """Stands in a class for an attribute that is worked out when it is asked for."""

        __slots__ = ("_made", "_name", "_plain", "_work_out")

        def __init__(self, plain, work_out):
            self._plain, self._work_out = plain, work_out

        def belong(self, made, name):
            """Learn its place; no ``__set_name__``, for Python 3.11 makes a RuntimeError of Ctrl-C in one."""
            self._made, self._name = made, name

        def __get__(self, instance, owner):
            with _WORKING:
                if vars(self._made)[self._name] is self:  # else another thread was faster
                    setattr(self._made, self._name, self._work_out(self._made, self._plain))
            found = vars(self._made)[self._name]
            # Bound as the attribute itself is: inspect, from 3.13 on, asks what stands in a class for itself.
            bind = getattr(type(found), "__get__", None)
            return found if bind is None else bind(found, instance, owner)

    def _fields(plain):
        """The fields by name, as they are written."""
        written = {name: vars(plain).get(name, dataclasses.MISSING) for name in _names(plain)}
        return {
            name: found if isinstance(found, dataclasses.Field) else dataclasses.field(default=found)
            for name, found in written.items()
        }

    def _constructor(made, plain):
        """Compile ``__init__``; it sets the slots themselves, so that nothing else needs to be able to."""
        parameters, lines, scope = ["self"], [], {}
        for name, field in _fields(plain).items():
            if not field.init:
                continue
            value = name
            scope[f"set_{name}"] = getattr(made, name).__set__
            if field.default is not dataclasses.MISSING:
                scope[f"default_{name}"] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                scope[f"default_{name}"] = dataclasses.MISSING
                scope[f"make_{name}"] = field.default_factory
                value = f"make_{name}() if {name} is default_{name} else {name}"
            parameters.append(f"{name}=default_{name}" if f"default_{name}" in scope else name)
            lines.append(f" set_{name}(self, {value})")
        if hasattr(made, "__post_init__"):
            lines.append(" self.__post_init__()")
        exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), scope)  # noqa: S102
        scope["__init__"].__qualname__ = f"{made.__qualname__}.__init__"
        return scope["__init__"]

    def _compared(made, plain):  # noqa: ARG001 - as all that is worked out
        return attrgetter("__class__", *(name for name, field in _fields(plain).items() if field.compare))

    def _matched(made, plain):  # noqa: ARG001
        return tuple(name for name, field in _fields(plain).items() if field.init)

    def _standard(made, plain):  # noqa: ARG001
        """The fields as the standard library finds them, for its functions."""
        members = {name: found for name, found in vars(plain).items() if name not in _STORAGE}
        members["__doc__"] = "Without one it would make one up, which takes a few milliseconds."
        like = type(plain)(plain.__name__, plain.__bases__, members)
        return dataclasses.dataclass(init=False, repr=False, eq=False)(like).__dataclass_fields__

    _STORAGE = ("__dict__", "__weakref__")
    _WORKED_OUT = {
        "__init__": _constructor,
        "__compared__": _compared,
        "__match_args__": _matched,
        "__dataclass_fields__": _standard,
    }

    def _repr(self):
        shown = (
            f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr
        )
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _eq(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return self.__compared__(self) == other.__compared__(other)

    def _hash(self):
        return hash(self.__compared__(self))

    def _reduce(self):
        return type(self), tuple(getattr(self, each.name) for each in dataclasses.fields(self))

    def _refuse(self, name, *_):
        raise dataclasses.FrozenInstanceError(f"{type(self).__qualname__}.{name} cannot be changed")

    _SHARED = {"__repr__": _repr, "__eq__": _eq, "__reduce__": _reduce}
    _FROZEN = {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}
    _CHANGEABLE = {"__hash__": None}
