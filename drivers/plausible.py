"""Which variant of a profile an instrument on the line may be: what each would read, and what speaks against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from drivers.base import DeviceException
from drivers.line import Line
from drivers.profile import Condition, Profile, Variant
from drivers.registers import Found, Request, judged, plan_reads, raws_in
from station.model import Reason, Sample, dataclass

Reader = Callable[[Request], bytes]  # the register bytes of an instrument's reply; DriverError where there is none


@dataclass(frozen=True, slots=True)
class Verdict:
    """What speaks against the variant called *name* (empty for a profile that has none), and what it would read."""

    name: str
    title: str
    against: Sequence[str]
    samples: Sequence[Sample]
    units: dict[str, str]

    @property
    def plausible(self) -> bool:
        """Whether nothing speaks against it: which is no proof."""
        return not self.against


def judge(read: Reader, line: Line, profile: Profile) -> list[Verdict]:
    """Each variant of *profile* held against the instrument *read* asks; raise DriverError when it does not answer.

    Nothing is written and nothing chosen: whoever sets the station up compares the values with the display.
    """
    variants: Sequence[Variant] = profile.variants or (Variant(name="", title=profile.title),)
    return [_verdict(read, line, profile, variant) for variant in variants]


def _verdict(read: Reader, line: Line, profile: Profile, variant: Variant) -> Verdict:
    layout = profile.chosen(variant.name or None)
    requests = [*layout.plan(line), *_reads(variant.conditions, layout, line)]
    found: Found = {}
    against: list[str] = []
    for request in requests:
        try:
            found |= raws_in(request, read(request))
        except DeviceException:
            against.append(f"refuses {request.text}")
    places = [place for request in requests for place in request.places]
    samples, _ = judged(places, found, datetime.now(UTC))
    units = {r.parameter: r.unit for r in layout.registers}
    against += (text for condition in variant.conditions for text in _against(condition, found))
    against += (text for sample in samples for text in _unbelievable(sample, layout))
    return Verdict(variant.name, variant.title, tuple(against), tuple(samples), units)


def _reads(conditions: Sequence[Condition], profile: Profile, line: Line) -> tuple[Request, ...]:
    return plan_reads(
        conditions,
        line.baudrate,
        line.bits,
        profile.reply_delay_ms,
        max_registers=profile.max_registers,
        holes=profile.holes,
        bridge_gaps=False,
    )


def _against(condition: Condition, found: Found) -> Iterator[str]:
    if id(condition) not in found:
        return  # refused, which was said
    number = found[id(condition)] * condition.scale
    low, high = condition.range
    if not low <= number <= high:
        what = condition.text or f"{condition.table} register {condition.address}"
        yield f"{what} reads {number:g}, not {low:g} to {high:g}"


def _unbelievable(sample: Sample, profile: Profile) -> Iterator[str]:
    if sample.reason in (Reason.ABOVE_RANGE, Reason.BELOW_RANGE) and sample.value is not None:
        low, high = next(r.range for r in profile.registers if r.parameter == sample.parameter)
        yield f"{sample.parameter} would be {sample.value:g}, not {low:g} to {high:g}"
    elif sample.reason is Reason.NOT_A_NUMBER:
        yield f"{sample.parameter} would be no number"
