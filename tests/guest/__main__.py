"""`scripts/guest build`, `scripts/guest run COMMAND...`, `scripts/guest test FILE...`."""

import shlex
import sys

from tests.guest import build, machine

USAGE = """usage: scripts/guest build            make kernel, disk and packages (cached), say where they lie
       scripts/guest run COMMAND...   boot, run a command as root in the guest, power off
       scripts/guest test FILE...     boot, run pytest on tests/guest/inside/FILE in the guest
"""


def main(arguments: list[str]) -> int:
    """The exit status: that of the command in the guest, 1 where the guest died or can not be built."""
    try:
        match arguments:
            case ["build"]:
                print(build.box())
                return 0
            case ["run", *command] if command:
                result = machine.run(build.box(), f"cd /clone\n{shlex.join(command)}\n", limit=600.0)
            case ["test", *files] if files:
                result = machine.tests(build.box(), *files, limit=1200.0)
            case _:
                print(USAGE, file=sys.stderr)
                return 2
    except build.Unbuilt as error:
        print(f"guest: {error}", file=sys.stderr)
        return 1
    print(result.output, end="")
    if result.rc is None:
        print(result.console, file=sys.stderr)
    return 1 if result.rc is None else result.rc


sys.exit(main(sys.argv[1:]))
