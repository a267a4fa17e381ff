"""The control of the kill loop: the daemon, but a line of the journal counts as stored before it is committed."""

import asyncio
import sys

from lintel.edge.__main__ import main
from lintel.edge.store.journal import Journal

_append = Journal.append


def hasty(self, event, *, now=False):
    _append(self, event, now=now).add_done_callback(lambda done: done.cancelled() or done.exception())
    early = asyncio.get_running_loop().create_future()
    early.set_result(1)
    return early


Journal.append = hasty
sys.exit(main())
