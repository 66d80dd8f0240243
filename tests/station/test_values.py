"""Our value classes against the standard's: the same body through both decorators does the same."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

import pytest

from station import values
from station.model import Mark, Reading

BOTH = (values, dataclasses)


def shapes(made_by: ModuleType) -> dict[str, type[Any]]:
    """Value classes of every kind we use, made by the decorator of *made_by*."""
    dataclass, field = made_by.dataclass, made_by.field

    @dataclass(frozen=True, slots=True)
    class Plain:
        """One line."""

        name: str
        value: float | None = None
        heard: float = field(default=0.0, compare=False)
        secret: str = field(default="", repr=False)

        @property
        def loud(self) -> str:
            return self.name.upper()

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Base:
        alone: ClassVar[bool] = False
        first: int = 1
        second: tuple[int, ...] = ()

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Derived(Base):
        alone: ClassVar[bool] = True
        needed: str
        first: int = 2

    @dataclass(frozen=True, slots=True)
    class Mixed(Base):
        leading: str
        inner: Mapping[str, Any] = field(default_factory=dict)

    @dataclass(slots=True)
    class Open:
        items: list[Any] = field(default_factory=list)
        count: int = field(default=7, init=False)
        late: Any = field(init=False, compare=False, repr=False)

        def __post_init__(self) -> None:
            self.late = len(self.items)

    @dataclass(slots=True, eq=False)
    class Same:
        value: int

    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    return {cls.__name__: cls for cls in (Plain, Base, Derived, Mixed, Open, Same, Empty)}


OURS, STANDARD = (shapes(made_by) for made_by in BOTH)

CALLS: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (
    ("Plain", ("a",), {}),
    ("Plain", ("a", 1.5, 2.0, "s"), {}),
    ("Plain", (), {"name": "a", "secret": "s"}),
    ("Plain", (), {}),
    ("Plain", ("a",), {"name": "b"}),
    ("Plain", ("a",), {"colour": 1}),
    ("Plain", (1, 2, 3, 4, 5), {}),
    ("Base", (), {}),
    ("Base", (1,), {}),
    ("Derived", (), {"needed": "n"}),
    ("Derived", (), {}),
    ("Mixed", ("x",), {"first": 5}),
    ("Mixed", ("x", {"k": 1}), {}),
    ("Open", ([1, 2],), {}),
    ("Open", (), {}),
    ("Open", (), {"count": 1}),
    ("Same", (1,), {}),
    ("Empty", (), {}),
)


def outcome(what: Callable[[], Any]) -> str:
    """The repr of what comes of *what*, or its error."""
    try:
        return repr(what()).replace("<locals>.", "")
    except (TypeError, AttributeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
def test_an_instance_is_made_and_shown_as_the_standard_would(name, args, kwargs):
    """Positional, by name, with defaults, and each way of getting it wrong."""
    ours, standard = (outcome(lambda cls=made[name]: cls(*args, **kwargs)) for made in (OURS, STANDARD))

    assert ours == standard


@pytest.mark.parametrize("name", OURS)
def test_the_signature_is_the_standards(name):
    """Once a few instances were asked for; that is when __init__ is compiled."""
    ours, standard = OURS[name], STANDARD[name]
    for _ in range(values.UNCOMPILED + 1):
        outcome(ours)

    def shape(cls: type[Any]) -> list[tuple[str, Any, bool]]:
        return [(p.name, p.kind, p.default is p.empty) for p in inspect.signature(cls).parameters.values()]

    assert shape(ours) == shape(standard)
    assert ours.__match_args__ == standard.__match_args__
    assert ours.__slots__ == standard.__slots__
    assert ours.__doc__ is None or ours.__doc__ == standard.__doc__


@pytest.mark.parametrize("made", [OURS, STANDARD], ids=["ours", "standard"])
def test_values_are_equal_by_what_counts_and_hash_alike(made):
    """The same assertions hold for both decorators."""
    one, two = made["Plain"]("a", 1.0, heard=1.0), made["Plain"]("a", 1.0, heard=2.0)
    nan = float("nan")

    assert one == two
    assert hash(one) == hash(two)
    assert one != made["Plain"]("a", 2.0)
    assert made["Plain"]("a", nan) == made["Plain"]("a", nan)
    assert made["Base"](first=2) != made["Derived"](needed="n")
    assert one != ("a", 1.0)
    assert (made["Base"].alone, made["Derived"](needed="n").alone) == (False, True)
    assert made["Empty"]() == made["Empty"]()
    assert made["Same"](1) != made["Same"](1)
    assert len({made["Same"](1), made["Same"](1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(made["Open"]())


@pytest.mark.parametrize("made", [OURS, STANDARD], ids=["ours", "standard"])
def test_frozen_values_stay_as_they_are(made):
    """Set, delete, and a name that is no field."""
    one = made["Plain"]("a")
    with pytest.raises(AttributeError, match="cannot assign to field 'name'"):
        one.name = "b"
    with pytest.raises(AttributeError, match="cannot delete field 'name'"):
        del one.name
    with pytest.raises((AttributeError, TypeError)):
        one.colour = 1
    box = made["Open"]()
    box.count = 9
    with pytest.raises(AttributeError):
        box.colour = 1

    assert (one.name, one.loud, box.count) == ("a", "A", 9)


@pytest.mark.parametrize(("made_by", "made"), [(values, OURS), (dataclasses, STANDARD)], ids=["ours", "standard"])
def test_replace_and_asdict_do_what_the_standards_do(made_by, made):
    """Nested values become dicts; what __init__ does not take is made anew."""
    nested = made["Mixed"]("x", {"a": (made["Plain"]("a"), 1)}, second=(1, 2))
    box = made_by.replace(made["Open"]([1]), items=[1, 2, 3])

    assert made_by.replace(nested, leading="y", first=9).first == 9
    assert made_by.replace(nested, leading="y") != nested
    assert (box.late, box.count) == (3, 7)
    assert made_by.asdict(nested) == {
        "first": 1,
        "second": (1, 2),
        "leading": "x",
        "inner": {"a": ({"name": "a", "value": None, "heard": 0.0, "secret": ""}, 1)},
    }
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        made_by.replace(nested, colour=1)


def test_asdict_reads_mappings_that_cannot_be_copied():
    """The loader hands out read-only ones; the standard's asdict fails on them."""
    one = OURS["Mixed"]("x", MappingProxyType({"pm25": (1.0, 0.0)}))

    assert values.asdict(one)["inner"] == {"pm25": (1.0, 0.0)}
    assert type(values.asdict(one)["inner"]) is dict


def test_values_are_copied_and_pickled():
    """Frozen ones too, though nothing can be set on them."""
    reading = Reading("dust", "site", "pm25", datetime(2026, 3, 1, tzinfo=UTC), 7.0, 7.5, Mark.T, heard=3.0)

    for copied in (copy.copy(reading), copy.deepcopy(reading), pickle.loads(pickle.dumps(reading))):
        assert copied == reading
        assert copied is not reading
        assert copied.heard == 3.0
    assert copy.copy(OURS["Open"]([1])) == OURS["Open"]([1])


def test_fields_tell_their_order_defaults_and_metadata():
    """What the loader and the tables of keys read."""

    @values.dataclass(frozen=True, slots=True)
    class Settings:
        port: int = values.field(default=1, metadata={"text": "where"})
        names: Mapping[str, str] = values.field(default_factory=dict)
        host: str = ""

    port, names, host = values.fields(Settings)

    assert [one.name for one in values.fields(Settings())] == ["port", "names", "host"]
    assert (port.default, port.metadata["text"], port.type) == (1, "where", "int")
    assert (names.default, names.default_factory) == (values.MISSING, dict)
    assert host.metadata == {}
    assert repr(values.MISSING) == "MISSING"
    assert values.is_dataclass(Settings)
    assert not values.is_dataclass(int)


def test_what_is_left_out_is_refused():
    """No class without slots, no default that instances would share."""
    with pytest.raises(TypeError, match="write slots=True"):
        values.dataclass(frozen=True)
    with pytest.raises(ValueError, match=r"Shared\.items: instances would share this default"):

        @values.dataclass(slots=True)
        class Shared:
            items: Any = []  # noqa: RUF012 (the fault to find)


def test_threads_that_make_the_first_instance_at_once_each_get_one():
    """__init__ is compiled on demand, whoever comes first."""
    for _ in range(50):
        cls = shapes(values)["Plain"]
        barrier, made = threading.Barrier(4), list[Any]()

        def make(cls=cls, barrier=barrier, made=made):
            barrier.wait()
            made.append(cls("a", 1.0))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [cls("a", 1.0)] * 4


@pytest.mark.parametrize(
    "module", ["station.model", "station.config", "drivers.profile", "drivers.registers", "uplink.hj212.frame"]
)
def test_our_classes_take_the_arguments_that_their_standard_twins_take(module):
    """The whole of a module's classes, rebuilt by the standard decorator from names, defaults and flags."""
    ours = [
        cls
        for cls in vars(import_module(module)).values()
        if isinstance(cls, type) and values.FIELDS in vars(cls) and cls.__module__ == module
    ]
    assert ours
    for cls in ours:
        for _ in range(values.UNCOMPILED + 1):
            outcome(cls)  # the last time it compiles
        twin = dataclasses.make_dataclass("Twin", [(one.name, Any, _standard(one)) for one in values.fields(cls)])
        ours_take, twin_takes = (inspect.signature(made).parameters for made in (cls, twin))
        assert [(p.name, p.kind) for p in ours_take.values()] == [(p.name, p.kind) for p in twin_takes.values()]


def _standard(one: Any) -> Any:
    known: dict[str, Any] = {"init": one.init, "kw_only": one.kw_only}
    if one.default is not values.MISSING:
        known["default"] = one.default
    if one.default_factory is not values.MISSING:
        known["default_factory"] = one.default_factory
    return dataclasses.field(**known)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}), ((1,), {}), ((1, 2), {}), ((1,), {"b": 3}), ((), {"a": 1, "b": 3}), ((1,), {"a": 1}), ((1, 2, 3), {}),
        ((1,), {"d": 4}), ((1,), {"made": 5}), ((), {"b": 3}),
    ],
)  # fmt: skip
def test_the_first_instances_are_as_the_compiled_ones(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    """Filled field by field or by the compiled __init__: the same values, or the same refusal."""

    def build() -> type[Any]:
        @values.dataclass(frozen=True, slots=True)
        class Made:
            a: int
            b: int = 2
            made: list[int] = values.field(default_factory=list, init=False)

        return Made

    fresh, worn = build(), build()
    first = outcome(lambda: fresh(*args, **kwargs))
    for _ in range(values.UNCOMPILED + 1):
        later = outcome(lambda: worn(*args, **kwargs))
    assert first == later
