"""The field bundle on a Debian 12 in a folder, with the real program: a transcript, and a report at its end.

    python -m tests.field [--folder DIR] [--report FILE]

Wants root, debootstrap and the Debian mirror that apt is set up for; takes some minutes.  Nothing of the machine
itself is changed: the Debian lies in DIR (kept for the next run), without a network and without an init of its own.
Exit code 0 only when everything held.
"""

import sys

from tests.field.trial import main

sys.exit(main(sys.argv[1:]))
