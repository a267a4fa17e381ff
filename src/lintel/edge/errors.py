"""The errors that cross rooms. Each docstring says what the supervisor does about it."""

from dataclasses import dataclass


class LintelError(Exception):
    """Base of all errors that Lintel raises on purpose. The message is for a person: what is wrong, what to do."""


class Lost(LintelError):
    """The line or broker went away. Supervisor: reconnect with jittered back-off, from 0.2 s up to the line's limit."""


class Refused(LintelError):
    """The far end answered and said no (wrong key, wrong password, wrong device). Supervisor: alarm, wait 60 s."""


class BadFrame(LintelError):
    """Bytes that are not a frame of the protocol. Driver: count, stay connected; the supervisor never sees it."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file a person wrote: where, and what was expected there."""

    where: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: {self.expected}"


class ConfigError(LintelError):
    """A configuration, profile or import file is wrong. All mistakes at once. The daemon does not start."""

    def __init__(self, file: str, mistakes: "list[Mistake]") -> None:
        self.file = file
        self.mistakes = mistakes
        lines = "\n".join(f"  {m}" for m in mistakes)
        noun = "mistake" if len(mistakes) == 1 else "mistakes"
        super().__init__(f"{file}: {len(mistakes)} {noun}\n{lines}")


class StoreError(LintelError):
    """The store can not do what was asked; `word` is the closed vocabulary's word (disk_full, db_damaged, ...)."""

    def __init__(self, word: str, message: str) -> None:
        self.word = word
        super().__init__(message)
