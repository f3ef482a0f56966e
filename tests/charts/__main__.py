"""Rewrites what the tests compare with.

python -m tests.charts golden     every case's render, into golden/ (`make charts-golden`); what no case makes any more is removed
python -m tests.charts released   the profiles' renders as released/VERSION/, once for each version, before it is tagged
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.charts import golden, released
from tests.charts.helm import Helm


def main(arguments: list[str]) -> int:
    """0: done. 2: not understood, or the version is stored already."""
    with tempfile.TemporaryDirectory() as directory:
        match arguments:
            case ["golden"]:
                written = golden.write(Helm(Path(directory)))
            case ["released"] if released.is_stored():
                print(f"{released.current()} exists: a released render never changes. Raise the version first.")
                return 2
            case ["released"]:
                written = released.write(Helm(Path(directory)))
            case _:
                print(__doc__)
                return 2
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
