"""A dataclass decorator with slots that creates its methods on first use, to start faster.

The standard decorator compiles six functions for each class, half a millisecond in all. This package imports
about a hundred such classes before its first request and creates values of a third of them. Here a class gets
its slots immediately, in a hundredth of a millisecond. Fields and constructor are created on first use;
methods that are the same for all classes are shared.

With the standard decorator a run that fetches one small file takes 1.3 times as long (Python 3.11 and 3.13).
When that falls below 1.05, this module should go.

The decorator is used like the standard one, ``@dataclass(frozen=True, slots=True)``, and the functions of
:mod:`dataclasses` (``fields``, ``replace``, ``asdict``) work on its classes. Type checkers see the standard
decorator. :func:`field` and :func:`replace` are here too, because importing :mod:`dataclasses` loads
:mod:`inspect`, and takes as many instructions as the start of Python itself (41 million and 35 million).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass", "field", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:
    from operator import attrgetter
    from threading import RLock

    _LOCK = RLock()
    _MISSING = object()

    class _Field:
        """What :func:`field` was given: the part of :class:`dataclasses.Field` that this package uses."""

        __slots__ = ("compare", "default", "default_factory", "init", "repr")

        def __init__(self, default, default_factory, *, init, repr, compare):  # noqa: A002
            self.default, self.default_factory = default, default_factory
            self.init, self.repr, self.compare = init, repr, compare

    def field(*, default=_MISSING, default_factory=_MISSING, init=True, repr=True, compare=True):  # noqa: A002
        """Describe a field; the options are as for :func:`dataclasses.field`."""
        return _Field(default, default_factory, init=init, repr=repr, compare=compare)

    def replace(value, /, **changes):
        """Copy a dataclass with other values for some fields, as :func:`dataclasses.replace` does."""
        kept = {name: getattr(value, name) for name in value.__match_args__ if name not in changes}
        return type(value)(**kept, **changes)

    def dataclass(*, slots, frozen=False):
        """Make a class a dataclass with slots; ``frozen`` is as for :func:`dataclasses.dataclass`.

        Methods that the class defines itself are kept. It must not extend another dataclass.
        """
        assert slots, "use the standard decorator for classes without slots"
        shared = _SHARED | (_FROZEN if frozen else _CHANGEABLE)

        def decorate(cls):
            late = {name: _Late(cls, create) for name, create in _CREATORS.items()}
            members = {**shared, **late, **_own(cls, implied=shared), "__slots__": tuple(_names(cls))}
            made = type(cls)(cls.__name__, cls.__bases__, members)
            made.__qualname__ = cls.__qualname__
            for name, each in late.items():
                each.attach(made, name)
            return made

        return decorate

    def _names(cls):
        """Return the names of the fields, in order."""
        notes = cls.__annotations__.items()  # of this class alone: a class without any gets an empty one
        return [name for name, note in notes if not note.startswith("ClassVar")]

    def _own(cls, implied):
        """Return what a class defines besides its fields.

        Python sets ``__hash__`` to None in a class that defines ``__eq__``; such a None does not count.
        """
        unwanted = {*_names(cls), *_STORAGE}
        return {
            name: found
            for name, found in vars(cls).items()
            if name not in unwanted and not (found is None and name in implied)
        }

    class _Late:
        """Descriptor that creates an attribute of a class when it is first read."""

        __slots__ = ("_create", "_made", "_name", "_plain")

        def __init__(self, plain, create):
            self._plain, self._create = plain, create

        def attach(self, made, name):
            """Set class and name. In a ``__set_name__``, Python 3.11 would turn Ctrl-C into RuntimeError."""
            self._made, self._name = made, name

        def __get__(self, instance, owner):
            with _LOCK:
                if vars(self._made)[self._name] is self:  # otherwise another thread has created it
                    setattr(self._made, self._name, self._create(self._made, self._plain))
            found = vars(self._made)[self._name]
            # Bind it as a read of the attribute would: inspect, from 3.13 on, calls __get__ of what it finds.
            bind = getattr(type(found), "__get__", None)
            return found if bind is None else bind(found, instance, owner)

    def _fields(plain):
        """Return the fields by name, as the class defines them."""
        written = {name: vars(plain).get(name, _MISSING) for name in _names(plain)}
        return {
            name: found if isinstance(found, _Field) else field(default=found)
            for name, found in written.items()
        }

    def _constructor(made, plain):
        """Compile ``__init__``; in a frozen class it sets the slots directly, past the ``__setattr__``."""
        parameters, lines, scope = ["self"], [], {}
        is_frozen = made.__setattr__ is _refuse
        for name, each in _fields(plain).items():
            if not each.init:
                continue
            value = name
            scope[f"set_{name}"] = getattr(made, name).__set__
            if each.default is not _MISSING:
                scope[f"default_{name}"] = each.default
            elif each.default_factory is not _MISSING:
                scope[f"default_{name}"] = _MISSING
                scope[f"make_{name}"] = each.default_factory
                value = f"make_{name}() if {name} is default_{name} else {name}"
            parameters.append(f"{name}=default_{name}" if f"default_{name}" in scope else name)
            # An assignment takes a third of the time, where the class allows it.
            lines.append(f" set_{name}(self, {value})" if is_frozen else f" self.{name} = {value}")
        if hasattr(made, "__post_init__"):
            lines.append(" self.__post_init__()")
        exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), scope)  # noqa: S102
        scope["__init__"].__qualname__ = f"{made.__qualname__}.__init__"
        return scope["__init__"]

    def _compared(made, plain):  # noqa: ARG001 - the signature of all creators
        return attrgetter("__class__", *(name for name, each in _fields(plain).items() if each.compare))

    def _matched(made, plain):  # noqa: ARG001
        return tuple(name for name, each in _fields(plain).items() if each.init)

    def _standard(made, plain):  # noqa: ARG001
        """Return the fields as the functions of the standard library expect them."""
        import dataclasses

        members = {name: found for name, found in vars(plain).items() if name not in _STORAGE}
        members |= {name: _standard_field(found) for name, found in members.items() if type(found) is _Field}
        members["__doc__"] = "Set because the standard decorator would compute one, in milliseconds."
        like = type(plain)(plain.__name__, plain.__bases__, members)
        return dataclasses.dataclass(init=False, repr=False, eq=False)(like).__dataclass_fields__

    def _standard_field(found):
        from dataclasses import field as standard

        options = {name: getattr(found, name) for name in _Field.__slots__}
        return standard(**{name: option for name, option in options.items() if option is not _MISSING})

    _STORAGE = ("__dict__", "__weakref__")
    _CREATORS = {
        "__init__": _constructor,
        "__compared__": _compared,
        "__match_args__": _matched,
        "__dataclass_fields__": _standard,
    }

    def _repr(self):
        from dataclasses import fields

        shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _eq(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return self.__compared__(self) == other.__compared__(other)

    def _hash(self):
        return hash(self.__compared__(self))

    def _reduce(self):
        from dataclasses import fields

        return type(self), tuple(getattr(self, each.name) for each in fields(self))

    def _refuse(self, name, *_):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"{type(self).__qualname__}.{name} cannot be changed")

    _SHARED = {"__repr__": _repr, "__eq__": _eq, "__reduce__": _reduce}
    _FROZEN = {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}
    _CHANGEABLE = {"__hash__": None}
