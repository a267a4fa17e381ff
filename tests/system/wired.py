"""The daemon before chips in memory: gpiod's request is replaced, all else is the real thing.

`LINTEL_WIRES`: a unix socket on which the test moves wires, one JSON list a line: [chip, method, arguments...]; the
answer is what the method gave, or the attribute. `LINTEL_LEVELS`: {chip: {line: high}} at the start.
"""

import json
import os
import socketserver
import sys
import threading
from collections import defaultdict
from pathlib import Path

import gpiod

sys.path.insert(0, str(Path(__file__).parents[2]))

from lintel.edge.__main__ import main
from tests.edge.drivers.gpio_chip import Chip

chips = defaultdict(Chip)
for name, levels in json.loads(os.environ["LINTEL_LEVELS"]).items():
    chips[name].volts |= {int(at): high for at, high in levels.items()}


class Hand(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            name, what, *values = json.loads(line)
            part = getattr(chips[name], what)
            self.wfile.write(json.dumps(part(*values) if callable(part) else part).encode() + b"\n")
            self.wfile.flush()


gpiod.request_lines = lambda path, *args, **kwargs: chips[Path(path).name].request_lines(path, *args, **kwargs)
Path(os.environ["LINTEL_WIRES"]).unlink(missing_ok=True)
server = socketserver.ThreadingUnixStreamServer(os.environ["LINTEL_WIRES"], Hand)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.exit(main())
