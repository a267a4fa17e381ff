"""The `lintel` command. Each sub-command's module is imported only when it is asked for, so that it starts at once."""

import importlib
import json
import sys

import typer

from lintel import __version__
from lintel.edge.errors import LintelError
from lintel.edge.text import told, tr

_COMMANDS = {
    "run": "gateway",
    "check": "gateway",
    "status": "gateway",
    "lockdown": "gateway",
    "fire": "fire",
    "demo": "demo",
    "bench": "bench",
    "simulate": "simulate",
    "pass": "passes",
    "profile": "profiles",
    "device": "devices",
    "allowlist": "allowlist",
    "journal": "journal",
}
"""Each command and the module of this package that holds its `app`."""


def _app(argv: list[str]) -> typer.Typer:
    """The command tree: only the asked command's branch, or all of it for `--help`."""
    app = typer.Typer(
        name="lintel",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=tr(
            "Lintel: an edge gateway that decides at the door, with or without the internet.",
            "Lintel:门禁边缘网关,断网也能在本地开门。",
        )
        + "\n\n  lintel run --config examples/gateway.toml",
    )
    wanted = next((a for a in argv if not a.startswith("-")), None)
    modules = [_COMMANDS[wanted]] if wanted in _COMMANDS else dict.fromkeys(_COMMANDS.values())
    names = {module: [n for n, m in _COMMANDS.items() if m == module] for module in modules}
    for module, commands in names.items():
        branch: typer.Typer = importlib.import_module(f"lintel.edge.cli.{module}").app
        app.add_typer(branch, name=None if module == "gateway" else commands[0])
    return app


def main() -> None:
    """Run the command line; an error that was raised on purpose prints its message alone and exits with 1.

    With `--json` it is also the answer on standard output, in English: `{"ok": false, "error": ...}`.
    """
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return
    try:
        _app(sys.argv[1:])()
    except LintelError as error:
        if "--json" in sys.argv:
            print(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
        print(f"lintel: {told(error)}", file=sys.stderr)
        sys.exit(1)
