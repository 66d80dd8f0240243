"""Starting the page: its libraries come with an extra, and who has not got them is told so in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Sequence

EXTRA = ("flask", "werkzeug", "jinja2", "waitress", "prometheus_client")
EX_UNAVAILABLE = 69


def main(arguments: Sequence[str]) -> int:
    """Serve the page of the station described by `--config FILE`; the exit code."""
    try:
        from station.page.serve import main as serve
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        print(  # noqa: T201 - nothing is there yet that could log
            f"station page: {error.name} is not installed; the page's libraries come with: pip install '.[page]'",
            file=sys.stderr,
        )
        return EX_UNAVAILABLE
    return serve(arguments)
