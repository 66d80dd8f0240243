"""What a platform is told of a period whose averages have changed: all of it again, what was added, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from station.model import Report, replace


def behind_others(report: Report) -> Report:
    """A late *report* as a later version: the first ones of a platform stand in the order of their periods."""
    return replace(report, version=max(2, report.version))


def only(report: Report, parameters: Iterable[str]) -> Report:
    """*report* of *parameters* alone."""
    wanted = set(parameters)
    return replace(report, averages=tuple(a for a in report.averages if a.parameter in wanted))


def to_tell(report: Report, *, revisions: bool, late: bool = False) -> Report | None:
    """What of *report* goes to a platform: a later version whole where it takes *revisions*, else what was added.

    A *late* one is told behind the others.
    """
    told = report
    if report.version > 1 and not revisions:
        if not report.added:
            return None
        told = only(report, report.added)
    return behind_others(told) if late else told


def added(new: Report, known: Report) -> tuple[str, ...]:
    """The parameters of *new* of which the version before, *known*, said nothing."""
    said = {a.parameter for a in known.averages}
    return tuple(a.parameter for a in new.averages if a.parameter not in said)


def news(stored: Sequence[Report], changed: Iterable[Report]) -> set[str]:
    """The parameters of *changed* minutes of which none of the *stored* ones of their record had said anything."""
    fresh = {
        (report.start, parameter)
        for report in changed
        for parameter in (report.added if report.version > 1 else [a.parameter for a in report.averages])
    }
    told = {a.parameter for report in stored for a in report.averages if (report.start, a.parameter) not in fresh}
    return {parameter for _, parameter in fresh} - told
