"""`python -m lintel.simulators KIND [--option VALUE ...]`, the form that programs start."""

import argparse
import asyncio
import sys
from dataclasses import fields
from pathlib import Path

from lintel.simulators.host import KINDS, Host, fleet_specs, part_class, write_line
from lintel.simulators.parts import JsonMap, SimulatorError


def _add_options(parser: argparse.ArgumentParser, kind: str) -> None:
    for option in fields(part_class(kind).options_class):
        flag = "--" + option.name.replace("_", "-")
        text = f"{option.metadata['help']} (default: {option.default!r})".replace("%", "%%")
        parser.add_argument(flag, dest=option.name, default=argparse.SUPPRESS, metavar="VALUE", help=text)


def specs(argv: list[str]) -> tuple[list[JsonMap], bool]:
    """Device descriptions and `stay` from a command line. Raises SimulatorError, or SystemExit as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m lintel.simulators", description=__doc__)
    parser.add_argument("kind", choices=[*KINDS, "face-terminal", "fleet"])
    if not argv or argv[0] in ("-h", "--help"):
        parser.parse_args(argv)
    kind = argv[0] if argv else ""
    parser.add_argument("--stay", action="store_true", help="go on when stdin ends")
    if kind == "fleet":
        parser.add_argument("file", help="JSON file, or the JSON itself")
    elif kind == "face-terminal":
        parser.add_argument("--dialect", default="mqtt-face", choices=["mqtt-face", "yld", "luozhi"])
        known, _ = parser.parse_known_args([a for a in argv if a not in ("-h", "--help")])
        _add_options(parser, known.dialect)
    elif kind in KINDS:
        _add_options(parser, kind)
    values = vars(parser.parse_args(argv))
    stay = values.pop("stay")
    if kind == "fleet":
        text = str(values["file"])
        return fleet_specs(text if text.lstrip()[:1] in ("[", "{") else Path(text).read_text("utf-8")), stay
    return [values], stay


async def run(descriptions: list[JsonMap], *, stay: bool) -> None:
    """Host the described devices until stdin ends."""
    await Host(descriptions, write_line, stay=stay).run()


def main() -> int:
    """Entry point; 2 for a wrong option or file."""
    try:
        descriptions, stay = specs(sys.argv[1:])
        asyncio.run(run(descriptions, stay=stay))
    except (SimulatorError, OSError) as error:
        write_line("failed", error=str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
