"""sqlite-utils alone, without numpy and pandas, which it imports where they are installed and hardly uses.

In the gateway that would be 28 MB and the threads of OpenBLAS, for nothing.
"""

import sys

_unasked = [name for name in ("numpy", "pandas") if name not in sys.modules]
for _name in _unasked:
    sys.modules[_name] = None  # type: ignore[assignment] # then an import of it fails
try:
    import sqlite_utils
finally:
    for _name in _unasked:
        del sys.modules[_name]

__all__ = ["sqlite_utils"]
