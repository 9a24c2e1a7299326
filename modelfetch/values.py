"""The dataclass of this project: the standard one with slots, whose definition takes a quarter of the time.

Up to Python 3.12 the standard decorator compiles six functions for each class, half a millisecond in all.
This package has a hundred such classes on the way to its first request, and they were a quarter of that way.
Here the constructor alone is compiled; what is the same for all classes is shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses
    from operator import attrgetter

    def dataclass(*, slots, frozen=False):
        """Make a class a dataclass with slots; ``frozen`` is as for :func:`dataclasses.dataclass`.

        What the class defines itself is left as it is. ``__post_init__`` is not called.
        """
        assert slots, "the standard decorator is for classes without"
        shared = _SHARED | (_FROZEN if frozen else {"__hash__": None})

        def decorate(cls):
            own = {name for name, found in vars(cls).items() if found is not None}
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
            fields = dataclasses.fields(made)
            made.__init__ = _constructor(made, fields)
            made.__compared__ = attrgetter("__class__", *(each.name for each in fields if each.compare))
            for name in shared.keys() - own:
                setattr(made, name, shared[name])
            return made

        return decorate

    def _constructor(cls, fields):
        """Compile ``__init__``; it sets the slots themselves, so that nothing else needs to be able to."""
        parameters, lines, scope = ["self"], [], {}
        for field in fields:
            name, value = field.name, field.name
            scope[f"set_{name}"] = getattr(cls, name).__set__
            if field.default is not dataclasses.MISSING:
                scope[f"default_{name}"] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                scope[f"default_{name}"] = dataclasses.MISSING
                scope[f"make_{name}"] = field.default_factory
                value = f"make_{name}() if {name} is default_{name} else {name}"
            parameters.append(f"{name}=default_{name}" if f"default_{name}" in scope else name)
            lines.append(f" set_{name}(self, {value})")
        exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), scope)  # noqa: S102
        scope["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
        return scope["__init__"]

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
