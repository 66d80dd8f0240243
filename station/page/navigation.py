"""The views a person can go to, in their order: endpoint and text key; one that is not registered is not shown."""

from __future__ import annotations

from typing import NamedTuple


class Item(NamedTuple):
    """One entry of the navigation; its text is page_nav.*word*, and the *primary* ones stand in the bar of a phone."""

    endpoint: str
    word: str
    primary: bool = False


ITEMS = (
    Item("views.overview", "overview", True),
    Item("trends.trends", "trends", True),
    Item("views.alarms", "alarms", True),
    Item("views.outbox", "outbox", True),
    Item("views.bus", "bus"),
    Item("work.calibrations", "calibrations"),
    Item("work.checked", "checks"),
    Item("work.field_work", "field"),
    Item("views.events", "events"),
    Item("downloads.downloads", "downloads"),
)
