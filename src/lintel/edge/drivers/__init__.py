"""One module for each kind of line; `base.py` is their contract."""
