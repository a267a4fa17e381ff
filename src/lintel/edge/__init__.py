"""The gateway daemon. `gate.py` is the file to read first; `daemon.py` builds everything."""

import os

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins costs each start 20 ms; we have none
