"""Stills of cameras: beside the alarms, and each by the number of its record, for a person who is signed in.

People may be seen on them, so who may look without a name sees none.  A picture is read whole and held against its
hash before it is shown; no name of a file comes from a browser.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, render_template

from station.i18n import t
from station.page.guard import Guard, access

if TYPE_CHECKING:
    from station.page.source import Source

OTHERS = 12  # beside those of the alarms that are on
OF_AN_ALARM = 4
LARGEST_NUMBER = (1 << 63) - 1
PICTURE_CSP = "sandbox; default-src 'none'; frame-ancestors 'none'"


def blueprint(source: Source, guard: Guard) -> Blueprint:
    """What hands out a picture."""
    made = Blueprint("stills", __name__)

    @made.get("/stills/<int:number>")
    @access("person")
    def still(number: int) -> Any:
        from station.snapshots import FOLDER, by_number, look

        if not 0 < number <= LARGEST_NUMBER:
            abort(404)
        with source.store() as store:
            found = by_number(store, number)
        if found is None:
            abort(404)
        data, why = look(source.loaded.data_folder / FOLDER, found)
        if why:
            code = 410 if why == "gone" else 409
            return render_template("error.html", code=code, said=t(f"page_stills.{why}")), code
        answer = Response(data, mimetype="image/jpeg")
        answer.headers.set("Content-Disposition", "inline", filename=found.file)
        answer.headers["Content-Security-Policy"] = PICTURE_CSP
        return answer

    return made


def stills_beside(source: Source, person: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The stills of the episodes of *rows* by the alarm's name, and the newest *others*; none for nobody."""
    by_alarm: dict[str, list[dict[str, Any]]] = defaultdict(list)
    others: list[dict[str, Any]] = []
    if not person or not source.loaded.database.exists():
        return {"by_alarm": by_alarm, "others": others}
    from station.snapshots import newest_first, shown

    on = {(str(row["name"]), str(row["episode"])) for row in rows if row.get("episode")}
    with source.store() as store:
        for one in newest_first(store, OTHERS + len(on), [episode for _, episode in on]):
            mine = by_alarm[one.body["alarm"]]
            if (one.body["alarm"], one.body["episode"]) in on and len(mine) < OF_AN_ALARM:
                mine.append(shown(one))
            elif len(others) < OTHERS:
                others.append(shown(one))
    return {"by_alarm": by_alarm, "others": others}
