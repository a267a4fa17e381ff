"""The daemon on a box whose wall clock is wrong: a file says by how many seconds, and it is read at every look.

The file may hold a second word, the id of another boot: then the box has restarted, without a clock chip.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

from lintel.edge import daemon
from lintel.edge.__main__ import main
from lintel.edge.clock import Clock, boot_id

FILE = Path(os.environ["SHIFT"])


def shift():
    return (FILE.read_text().split() or ["0"])[0]


def boot():
    return "".join(FILE.read_text().split()[1:]) or boot_id()


daemon.Clock = partial(Clock, lambda: time.time() + float(shift()), boot_id=boot)
daemon.clock_chip = lambda: len(FILE.read_text().split()) < 2
sys.exit(main())
