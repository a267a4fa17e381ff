"""What several commands share: their options, and how JSON is printed."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lintel.edge.text import tr

DEFAULT_STATE = Path("/var/lib/lintel")
State = Annotated[Path, typer.Option("--state", help=tr("State directory of the gateway.", "网关的状态目录。"))]
Json = Annotated[bool, typer.Option("--json", help=tr("Print JSON.", "输出 JSON。"))]


def print_json(value: object) -> None:
    """One line of JSON on standard output, Chinese as it is."""
    typer.echo(json.dumps(value, ensure_ascii=False))
