"""The command `station`: the daemon is started without click, everything people type with it."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the words that were typed; Ctrl-C while all is still being loaded is no traceback."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)


def _run() -> None:
    """Run `station run|page --config FILE` and `station --version` directly, any other words through station.cli."""
    words = sys.argv[1:]
    if words == ["--version"]:
        from station.version import VERSION

        print(f"station, version {VERSION}")
        return
    if len(words) == 3 and words[:2] == ["run", "--config"]:
        gc.disable()  # until all is loaded: nothing of it is garbage (station/service.py switches it on)
        from station.service import main as run

        sys.exit(run(words))
    if len(words) == 3 and words[:2] == ["page", "--config"]:
        gc.disable()
        from station.page.start import main as serve

        sys.exit(serve(words))
    from station.cli import main as commands

    commands()


if __name__ == "__main__":
    main()
