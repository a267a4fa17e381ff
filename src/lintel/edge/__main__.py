"""`python -m lintel.edge FILE [LEVEL]`: the daemon alone. `lintel run` becomes this process."""

import logging
import os
import sys
from pathlib import Path

from lintel.edge import config, daemon
from lintel.edge.errors import LintelError
from lintel.edge.text import told


def main() -> int:
    """Run until SIGTERM or SIGINT; 1 when the configuration or the store is wrong."""
    file, level = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "info"
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=level.upper())
    try:
        site = config.load(file)
        daemon.run(site, ready=lambda: print(f"lintel: ready, {len(site.door)} doors, pid {os.getpid()}", flush=True))
    except LintelError as error:
        print(f"lintel: {told(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
