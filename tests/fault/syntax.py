"""The syntax of strace's log with `-f -xx -y`, read strictly."""

import os
import re
from dataclasses import dataclass
from pathlib import Path


class TraceError(Exception):
    """The log holds something that the model does not know; ignoring it would make the test lie."""


_LINE = re.compile(r"^(\d+) +(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(.*)$", re.DOTALL)
_FD = re.compile(r"^(-?\d+|AT_FDCWD)(?:<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?)?$")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that ended; `began` calls had ended before it began. `result` is -1 where strace shows none."""

    began: int
    name: str
    args: list[str]
    result: int
    tail: str


def calls(log: Path) -> list[Call]:
    """All calls that ended, in the order in which they ended; `began` counts the calls that had ended before."""
    open_: dict[str, tuple[int, str]] = {}
    found: list[Call] = []
    for line in log.read_text("ascii").splitlines():
        if not (match := _LINE.match(line)):
            raise TraceError(f"no line of strace: {line[:120]}")
        thread, rest = match.groups()
        if rest.startswith(("+++", "---")):
            continue
        began = len(found)
        if rest.endswith("<unfinished ...>"):
            open_[thread] = began, rest.removesuffix("<unfinished ...>").rstrip()
            continue
        if rest.startswith("<... "):
            began, start = open_.pop(thread)
            rest = start + rest.split(" resumed>", 1)[1]
        if not (parts := _CALL.match(rest)):
            raise TraceError(f"not understood: {rest[:200]}")
        name, args, result, tail = parts.groups()
        found.append(Call(began, name, split(args), -1 if result == "?" else int(result, 0), tail))
    for _, rest in open_.values():
        if not rest.startswith("exit"):
            raise TraceError(f"never ended: {rest[:120]}")
    return found


def split(text: str) -> list[str]:
    """Arguments; strings and paths are all hex, so commas stand only between arguments or inside brackets."""
    found, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif char == "," and not depth:
            found.append(text[start:at].strip())
            start = at + 1
    return [*found, text[start:].strip()] if text else []


def decoded(text: str) -> bytes:
    """The bytes of a string argument."""
    if not (text.startswith('"') and text.endswith('"')):
        raise TraceError(f"a cut or missing string: {text[-40:]}")
    return bytes.fromhex(text[1:-1].replace("\\x", ""))


def descriptor(text: str) -> tuple[int, str]:
    """(number, path) of a descriptor argument; -100 is the working directory."""
    if not (match := _FD.match(text)):
        raise TraceError(f"no descriptor: {text[:80]}")
    number = -100 if match[1] == "AT_FDCWD" else int(match[1])
    return number, os.fsdecode(bytes.fromhex((match[2] or "").replace("\\x", "")))


def paths(call: Call) -> list[str]:
    """Every path that a call mentions."""
    found = []
    for arg in call.args:
        if arg.startswith('"'):
            found.append(os.fsdecode(decoded(arg)))
        elif _FD.match(arg):
            found.append(descriptor(arg)[1])
    return found
