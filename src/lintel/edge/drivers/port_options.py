"""The options of every line that is a serial port: where it is, and how fast."""

from lintel.edge.drivers.base import Line
from lintel.edge.errors import Mistake
from lintel.edge.profiles.serial import BAUDS


def port_options(line: Line, default: int) -> tuple[str, int, list[Mistake]]:
    """`path` and `baud` of a line, and what is wrong with them. `default`: the speed where the file names none."""
    where = f"line.{line.id}"
    mistakes = [
        Mistake(f"{where}.{key}", f"expected no such key: 'path' and 'baud' are the options of {line.driver}")
        for key in line.options
        if key not in ("path", "baud")
    ]
    path = line.options.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        mistakes.append(Mistake(f"{where}.path", "expected an absolute path such as '/dev/serial/by-id/usb-...'"))
    baud = line.options.get("baud", default)
    if baud not in (default, *BAUDS) or isinstance(baud, bool):
        mistakes.append(Mistake(f"{where}.baud", f"expected one of {', '.join(map(str, BAUDS))}"))
        baud = default
    return str(path), int(baud), mistakes
