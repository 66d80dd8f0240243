"""The fault matrix, run and printed.

    python -m tests.faults [--long] [--row N]... [--jobs 2] [--json FILE [--go-on]]

The quick set takes some minutes, the long set an hour or two on two cores.  Each row runs in a process of its own.
Exit code 0 only when every row that ran held; a row that cannot be run is printed with the reason.
"""

import sys

from tests.faults.runner import main

sys.exit(main(sys.argv[1:]))
