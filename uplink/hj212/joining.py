"""Puts split messages together again, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

from station.model import replace
from uplink.hj212.frame import SPLIT_BIT, Segment, fence
from uplink.hj212.messages import field_of

SETS_LIMIT = 8  # messages being joined at once; the oldest gives way
PARTS_LIMIT = 99

_Identity = tuple[str, str, str, str]


class Joiner:
    """Collects packets by MN, CN, DataTime and PNUM: senders disagree whether a set shares its QN (B).

    >>> parts = [Segment(cn="2011", mn="1", flag="7", pnum="2", pno=pno, cp=fence(data))
    ...          for pno, data in [("2", "DataTime=1;b-Rtd=2"), ("1", "DataTime=1;a-Rtd=1")]]
    >>> joiner = Joiner()
    >>> joiner.add(parts[0]), joiner.add(parts[1]).data
    (None, 'DataTime=1;a-Rtd=1;b-Rtd=2')
    """

    def __init__(self) -> None:
        self._sets: OrderedDict[_Identity, dict[int, Segment]] = OrderedDict()

    def add(self, segment: Segment) -> Segment | None:
        """*segment* itself if it is whole, the joined message if it was the last packet, otherwise None."""
        total, number = _count(segment.pnum), _count(segment.pno)
        if not (segment.flags is None or segment.flags & SPLIT_BIT) or not 1 <= number <= total or total == 1:
            return segment  # Flag says "split" without numbers in the wild: such a one is whole
        identity = (segment.mn, segment.cn, field_of(segment.data, "DataTime"), segment.pnum)
        parts = self._sets.setdefault(identity, {})
        parts[number] = segment
        if len(parts) == total:
            del self._sets[identity]
            return _joined(segment, [parts[index] for index in sorted(parts)])
        while len(self._sets) > SETS_LIMIT:
            self._sets.popitem(last=False)
        return None


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    return number if number <= PARTS_LIMIT else 0


def _joined(last: Segment, parts: list[Segment]) -> Segment:
    """One message of all *parts*: DataTime once, the other fields those of the packet that came last."""
    head = f"DataTime={field_of(last.data, 'DataTime')}"
    shared = head if all(part.data.startswith(head) for part in parts) else ""
    items = [part.data.removeprefix(shared).strip(";") for part in parts]
    return replace(last, pnum="", pno="", cp=fence(";".join(filter(None, [shared, *items]))))
