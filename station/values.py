"""Value classes as the standard `dataclasses` makes them, at a tenth of the cost of a start.

The standard decorator writes and compiles up to nine methods for a class, 0.7 ms each class on Python 3.11, and
loads `inspect` for it; a station needs some fifty classes before it is ready.  Here the methods are shared, and
__init__, which is worth compiling, is compiled for classes that have more than a few instances.

`station.model` hands these out under the standard's names; a type checker is shown the standard's own.
What is left out: order, unsafe_hash, weakref_slot, InitVar, and classes without slots.  Annotations are texts
(`from __future__ import annotations`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T")


class _Missing:
    """Stands where a field has no default."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
UNCOMPILED = 3  # instances of a class that are filled field by field
FIELDS = "__station_fields__"  # not the standard's name: its functions would take ours for theirs


class FrozenInstanceError(AttributeError):
    """Error raised when a field of a frozen value is set or deleted."""


class Field:
    """What is known of one field."""

    __slots__ = ("compare", "default", "default_factory", "init", "kw_only", "metadata", "name", "repr", "type")

    def __init__(self, default: Any, default_factory: Any, init: bool, repr: bool, compare: bool, metadata: Any):
        self.default, self.default_factory, self.metadata = default, default_factory, metadata
        self.init, self.repr, self.compare = init, repr, compare
        self.name, self.type, self.kw_only = "", "", False


def field(
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
    metadata: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """A field that is more than a name and a default."""
    return Field(default, default_factory, init, repr, compare, metadata)


def dataclass(
    *, slots: bool = False, frozen: bool = False, kw_only: bool = False, eq: bool = True
) -> Callable[[type[T]], type[T]]:
    """The decorator: fields from the class's annotations, in their order, after those it inherits."""
    if not slots:
        raise TypeError("value classes have slots: write slots=True")
    return lambda cls: _made(cls, frozen, kw_only, eq)


def _made(cls: type[T], frozen: bool, kw_only: bool, eq: bool) -> type[T]:
    body = dict(cls.__dict__)
    inherited: dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited |= base.__dict__.get(FIELDS, {})
    own: dict[str, Field] = {}
    for name, hint in body.get("__annotations__", {}).items():
        if hint.startswith("ClassVar["):
            continue
        given = body.pop(name, MISSING)
        own[name] = one = given if isinstance(given, Field) else field(default=given)
        one.name, one.type, one.kw_only = name, hint, kw_only
        if type(one.default).__hash__ is None:
            raise ValueError(f"{cls.__qualname__}.{name}: instances would share this default: use default_factory")
    every = inherited | own
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    body["__slots__"] = tuple(name for name in own if name not in inherited)
    body[FIELDS] = every
    body["__match_args__"] = tuple(one.name for one in every.values() if one.init and not one.kw_only)
    for name, method in _methods(tuple(every.values()), frozen, eq).items():
        body.setdefault(name, method)
    kind: Any = type(cls)
    made: Any = kind(cls.__name__, cls.__bases__, body)  # slots can only be given to a new class
    made.__qualname__ = cls.__qualname__
    made.__init__ = _init_on_demand(made, tuple(every.values()), frozen)
    return made  # type: ignore[no-any-return]


def _methods(every: tuple[Field, ...], frozen: bool, eq: bool) -> dict[str, Any]:
    """What all value classes share, or need nothing but the names of their fields for."""
    methods: dict[str, Any] = {"__repr__": _repr}
    if eq:
        values = _values_of([one.name for one in every if one.compare])
        methods["__eq__"] = lambda self, other: (
            values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented
        )
        methods["__hash__"] = (lambda self: hash(values(self))) if frozen else None
    if frozen:
        methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        methods |= {"__getstate__": _state, "__setstate__": _set_state}  # for copy and pickle, which would set
    return methods


def _values_of(names: list[str]) -> Callable[[Any], Any]:
    """What fetches a tuple of an instance's values."""
    return attrgetter(*names) if len(names) > 1 else lambda self: tuple(getattr(self, name) for name in names)


def _repr(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


def _init_on_demand(cls: Any, every: tuple[Field, ...], frozen: bool) -> Callable[..., None]:
    """An __init__ that fills the first instances field by field, then puts a compiled one in its place.

    A class of settings has one instance or two, and compiling costs as much as twenty.
    """
    made = 0

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal made
        made += 1
        if made <= UNCOMPILED and _filled(self, every, args, kwargs):
            return
        if cls.__init__ is __init__:
            cls.__init__ = _compiled_init(cls, every, frozen)
        cls.__init__(self, *args, **kwargs)

    return __init__


def _filled(self: Any, every: tuple[Field, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Set the fields as the compiled __init__ would; false, with nothing set, where that one would object."""
    names = [one.name for one in every if one.init and not one.kw_only]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if len(args) > len(names) or len(given) < len(args) + len(kwargs):
        return False
    values: list[tuple[str, Any]] = []
    for one in every:
        if one.init and one.name in given:
            value = given.pop(one.name)
            if value is MISSING:
                return False
        elif one.default_factory is not MISSING:
            value = one.default_factory()
        elif one.default is not MISSING:
            value = one.default
        elif one.init:
            return False
        else:
            continue  # __post_init__ sets it
        values.append((one.name, value))
    if given:
        return False
    for name, value in values:
        object.__setattr__(self, name, value)
    if hasattr(self, "__post_init__"):
        self.__post_init__()
    return True


def _compiled_init(cls: Any, every: tuple[Field, ...], frozen: bool) -> Callable[..., None]:
    known: dict[str, Any] = {"set_": object.__setattr__, "MISSING": MISSING}
    positional: list[str] = []
    by_name: list[str] = []
    body: list[str] = []
    for one in every:
        name, value = one.name, one.name if one.init else f"default_{one.name}"
        if one.default_factory is not MISSING:
            known[f"make_{name}"] = one.default_factory
            value = f"make_{name}() if {value} is MISSING else {value}"
        known[f"default_{name}"] = one.default
        optional = one.default is not MISSING or one.default_factory is not MISSING
        if one.init:
            (by_name if one.kw_only else positional).append(f"{name}=default_{name}" if optional else name)
        if one.init or optional:  # else __post_init__ sets it
            body.append(f"set_(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    head = ", ".join(["self", *positional, *(["*", *by_name] if by_name else [])])
    exec(f"def __init__({head}):\n " + "\n ".join(body or ["pass"]), known)
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"  # a TypeError names it
    return made


def fields(value: Any) -> tuple[Field, ...]:
    """The fields of a value class or of an instance, in order."""
    every: dict[str, Field] = getattr(value, FIELDS)
    return tuple(every.values())


def is_dataclass(value: Any) -> bool:
    """Whether *value* is a value class or an instance of one."""
    return hasattr(value, FIELDS)


def replace(value: T, /, **changes: Any) -> T:
    """*value* with *changes*; what __init__ does not take is made anew."""
    for one in fields(value):
        if one.init:
            changes.setdefault(one.name, getattr(value, one.name))
    return type(value)(**changes)


def asdict(value: Any) -> dict[str, Any]:
    """*value* as a dict, with the value classes, sequences and mappings within it; the rest is not copied."""
    return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return asdict(value)
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
