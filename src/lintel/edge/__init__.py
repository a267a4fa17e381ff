"""The gateway daemon. `gate.py` is the file to read first; `daemon.py` builds everything."""
