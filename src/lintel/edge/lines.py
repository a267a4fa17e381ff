"""From a line's table to its driver: one way for the daemon, which runs it, and for `lintel check`, which does not."""

import importlib
from collections.abc import Callable, Mapping, Sequence

from lintel.edge.clock import Clock
from lintel.edge.config import Config
from lintel.edge.digests import Digester
from lintel.edge.drivers.base import Build, Context, Device, Driver, Keys, Line, NoKeys
from lintel.edge.ids import new_id
from lintel.edge.line_tables import LineTable


def build_line(
    config: Config,
    table: LineTable,
    clock: Clock,
    digest: Digester,
    passwords: Mapping[str, str],
    *,
    keys: Keys | None = None,
    released: Callable[[str], bool] = lambda _: False,
) -> tuple[Line, Driver, Sequence[Device]]:
    """A line as its driver sees it, the driver, and its devices; opens nothing.

    `passwords` by line; `released` as in `Context`. Raises ConfigError where the driver refuses an option, an address
    or a profile.
    """
    open_s = {d.lock: d.open_s for d in sorted(config.door, key=lambda d: d.open_s)}  # of several doors the longest
    devices = [
        Device(d.id, d.address, d.door, d.direction, config.profile(d), open_s.get(d.id, 3.0))
        for d in config.device
        if d.line == table.id
    ]
    context = Context(
        clock, digest, new_id, config.site.timezone, f"lintel-{config.site.id:08x}", passwords,
        keys or NoKeys(), released,
    )  # fmt: skip
    build: Build = importlib.import_module(f"lintel.edge.drivers.{table.driver}").build
    line = Line(table.id, table.driver, table.options())
    return line, build(line, devices, context), devices
