"""Programs of others as far ends of a line, each run by the interpreter of an environment of its own.

The modules beside this one are those programs: they speak the JSON lines of a simulator, import nothing of Lintel and
are started by path: `Simulator(..., program=program("libosdp"))` drives one.
"""

from pathlib import Path

_ENVIRONMENTS = {"libosdp": "osdp-c", "osdp_cp": "osdp"}
_CLONE = Path(__file__).resolve().parents[4]


def program(name: str) -> tuple[Path, Path]:
    """The words that start a peer. Raises FileNotFoundError where its environment is missing; the set-up makes it."""
    environment = _CLONE / ".venv-peers" / _ENVIRONMENTS[name]
    if not (environment / ".lintel-peer").is_file():
        raise FileNotFoundError(f"{environment} is not there or not complete")
    return environment / "bin/python", Path(__file__).with_name(f"{name}.py")


def present(name: str) -> bool:
    """Whether a peer can be started here."""
    try:
        program(name)
    except FileNotFoundError:
        return False
    return True
