"""Inside the guest only: everything here changes the machine it runs on."""

import os

collect_ignore_glob = [] if os.environ.get("LINTEL_GUEST") else ["test_*.py"]
