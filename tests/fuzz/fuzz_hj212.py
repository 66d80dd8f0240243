"""Any bytes from a platform: atheris drives the reader, the inspector and a whole session's judgement (target.py).

Not in the dependencies.  In an environment of its own:

    pip install atheris cryptography && pip install -e .
    python tests/fuzz/fuzz_hj212.py tests/fuzz/corpus -max_total_time=600 -max_len=4096
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["uplink"]):
    from tests.fuzz.target import one_input


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
