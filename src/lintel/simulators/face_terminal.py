"""A face terminal: its own person list, its own relay, its own clock. The dialects say how it talks."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

from lintel.simulators import photos
from lintel.simulators.mqtt import MqttOptions, MqttPart
from lintel.simulators.parts import Emit, JsonMap, SimulatorError, opt
from lintel.simulators.photos import PhotoFault
from lintel.simulators.pictures import TINY_JPEG, look
from lintel.simulators.relay import Relay

PICTURE = "data:image/jpeg;base64," + base64.b64encode(TINY_JPEG).decode()


@dataclass(frozen=True, slots=True)
class TerminalOptions(MqttOptions):
    """Options of every face terminal."""

    id: str = opt("1026700", "device id, as in its topics")
    persons: str = opt("", "JSON file with the persons that it knows at the start: [{customId, name, ...}]")
    capacity: int = opt(10_000, "how many persons it can store")
    relay_seconds: float = opt(3.0, "how long its relay stays on")
    local_open: bool = opt(default=False, text="open by itself for a known person, without the gateway")
    clock_offset: float = opt(0.0, "seconds its clock is ahead")
    utc_offset: float | None = opt(None, "hours of its time zone; none: that of this machine")
    fetch_photos: bool = opt(default=True, text="really download photos; false: believe every http(s) address")
    photo_timeout: float = opt(5.0, "seconds a download may take")
    reboot_seconds: float = opt(2.0, "seconds without a link at a reboot")


@dataclass(slots=True)
class Person:
    """A person in the terminal's store. `custom_id` is empty for people enrolled at the device itself.

    Validity is [valid_from, valid_to] in Unix seconds; `uses` None is unlimited.
    """

    custom_id: str
    number: int
    name: str = ""
    blocked: bool = False
    valid_from: float | None = None
    valid_to: float | None = None
    uses: int | None = None
    photo: str = ""
    raw: JsonMap = field(default_factory=dict)


class PersonStore:
    """The person list. Numbers are given once and never again."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._persons: dict[int, Person] = {}
        self._numbers: dict[str, int] = {}  # by customId
        self._photos: dict[str, set[int]] = {}  # by digest
        self._next = 1

    def __len__(self) -> int:
        return len(self._persons)

    def all(self) -> list[Person]:
        """Everybody, in order of enrolment."""
        return list(self._persons.values())

    def get(self, custom_id: str) -> Person | None:
        """Who has this id of the platform."""
        return self._persons.get(self._numbers.get(custom_id, 0)) if custom_id else None

    def by_number(self, number: int) -> Person | None:
        """Who has this number of the device."""
        return self._persons.get(number)

    def add(self, custom_id: str, name: str = "") -> Person:
        """Enrol somebody new. The caller has checked the capacity."""
        person = Person(custom_id, self._next, name)
        self._persons[self._next] = person
        self._numbers.setdefault(custom_id, self._next)
        self._next += 1
        return person

    def remove(self, custom_id: str) -> Person | None:
        """Delete; returns who was deleted."""
        person = self.get(custom_id)
        if person is None:
            return None
        self._photos.get(person.photo, set()).discard(person.number)
        del self._numbers[custom_id]
        return self._persons.pop(person.number)

    def clear(self) -> None:
        """Delete everybody."""
        for index in (self._persons, self._numbers, self._photos):
            index.clear()

    def like(self, photo: str, but: str) -> Person | None:
        """Somebody else with the same photo digest."""
        numbers = self._photos.get(photo, ()) if photo else ()
        return next((p for n in numbers if (p := self._persons[n]).custom_id != but), None)

    def photographed(self, person: Person, photo: str) -> None:
        """This person's photo is another one now, by its digest."""
        self._photos.get(person.photo, set()).discard(person.number)
        person.photo = photo
        self._photos.setdefault(photo, set()).add(person.number)


class Terminal(MqttPart):
    """What all dialects share. Events: `unlocked`, `locked` (its relay), `stored`, `deleted`, `pushed`, ..."""

    kind = "face-terminal"
    options_class = TerminalOptions

    def __init__(self, options: TerminalOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self.options = options
        self.relay = Relay(self.emit)
        self.store = PersonStore(options.capacity)
        self._beside: set[asyncio.Task[None]] = set()
        self.clock_offset = options.clock_offset
        self.zone: tzinfo | None = None
        if options.utc_offset is not None:
            self.zone = timezone(timedelta(hours=options.utc_offset))

    def load_persons(self) -> None:
        """Enrol the persons of the file; a dialect calls it when it can `fill`. Raises SimulatorError."""
        if not self.options.persons:
            return
        try:
            people = json.loads(Path(self.options.persons).read_text("utf-8"))
            for raw in people:
                person = self.store.add(str(raw.get("customId", "")), str(raw.get("name", "")))
                self.fill(person, raw)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise SimulatorError(f"persons file {self.options.persons}: {error}") from None

    # For the dialects.

    @property
    def said_id(self) -> str:
        """The device id that stands inside payloads."""
        return self.faults.wrong_identity or self.id

    def now(self) -> float:
        """The device's own idea of Unix time."""
        return time.time() + self.clock_offset

    def local(self, at: float | None = None) -> str:
        """`YYYY-MM-DD hh:mm:ss` on the device's clock, without a zone."""
        moment = datetime.fromtimestamp(self.now() if at is None else at, UTC).astimezone(self.zone)
        return moment.strftime("%Y-%m-%d %H:%M:%S")

    def moment(self, text: str) -> float:
        """Unix time of the device's local time; a T between date and time is taken. Raises ValueError."""
        return datetime.fromisoformat(text).replace(tzinfo=self.zone).timestamp()

    def fill(self, person: Person, raw: JsonMap) -> None:
        """Take over the fields of a dialect's person object. Raises ValueError for an unfit field."""
        person.raw |= raw
        person.name = str(raw.get("name", person.name))

    async def photo(self, inline: str, url: str) -> str | PhotoFault:
        """The digest of a photo that was sent or is to be fetched, or why it is not taken."""
        if inline:
            got: bytes | PhotoFault = photos.from_inline(inline)
        elif url and self.options.fetch_photos:
            got = await asyncio.to_thread(photos.download, url, self.options.photo_timeout)
        elif url:
            got = url.encode() if url.startswith(("http://", "https://")) else PhotoFault.HOST
        else:
            got = PhotoFault.MISSING
        return got if isinstance(got, PhotoFault) else hashlib.sha256(got).hexdigest()

    def may_pass(self, person: Person) -> bool:
        """The terminal's own verdict: allow list, validity, uses."""
        now = self.now()
        in_time = (person.valid_from or 0) <= now and (person.valid_to is None or now <= person.valid_to)
        return not person.blocked and in_time and (person.uses is None or person.uses > 0)

    def recognised(self, person: Person, similarity: float, *, allowed: bool) -> None:
        """Tell that somebody known was seen."""
        raise NotImplementedError

    def stranger(self) -> None:
        """Tell that somebody unknown was seen."""
        raise NotImplementedError

    async def code_shown(self, text: str) -> None:  # noqa: ARG002
        """Tell that a QR code was read. Not every dialect can."""
        raise SimulatorError("this dialect has no QR message")

    def restart(self) -> None:
        """Reboot: the link breaks and comes back after `reboot_seconds`."""
        self.emit("rebooting")
        self.later(self._restart())

    async def _restart(self) -> None:
        await asyncio.sleep(0.1)  # the answer to the command still goes out
        await self.do_disconnect(will=True, seconds=self.options.reboot_seconds)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the handling of messages."""
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._beside.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.emit("broken", error=f"{type(error).__name__}: {error}")

    # Commands.

    async def typed(self, line: str) -> JsonMap:
        """A typed line is the id of a person who steps in front, or else the text of a QR code."""
        return await (self.do_face(line) if self.store.get(line) else self.do_qr(text=line))

    async def do_face(self, person: str = "", similarity: float = 94.0, number: int | None = None) -> JsonMap:
        """Somebody steps in front: by customId, or by the device's own `number`; an unknown one is a stranger."""
        found = self.store.by_number(number) if number is not None else self.store.get(person)
        if found is None:
            self.stranger()
            return {"known": False}
        allowed = self.may_pass(found)
        if allowed and found.uses is not None:
            found.uses -= 1
        if allowed and self.options.local_open:
            self.relay.switch_on(self.options.relay_seconds, "local")
        self.recognised(found, similarity, allowed=allowed)
        return {"known": True, "allowed": allowed}

    async def do_stranger(self) -> None:
        """Somebody unknown steps in front."""
        self.stranger()

    async def do_qr(
        self, text: str | None = None, picture: str | None = None, png_base64: str | None = None
    ) -> JsonMap:
        """A QR code (text or picture) is held before the camera."""
        code = await asyncio.to_thread(look, text, picture, png_base64) if text is None else None
        shown = code.data.decode("utf-8", "replace") if code else text
        if shown:
            await self.code_shown(shown)
        return {"found": bool(shown)}

    async def do_enrol(self, name: str = "") -> JsonMap:
        """Enrol somebody at the device itself: no customId."""
        return {"number": self.store.add("", name).number}

    async def do_persons(self) -> JsonMap:
        """Who is stored."""
        shown = [{"customId": p.custom_id, "number": p.number, "name": p.name} for p in self.store.all()]
        return {"persons": shown, "count": len(self.store)}

    async def do_person(self, person: str) -> JsonMap:
        """The fields that the platform sent for a person, without the photo."""
        found = self.store.get(person)
        raw = {k: v for k, v in found.raw.items() if k not in ("pic", "photo")} if found else None
        return {"person": raw}

    async def do_ledger(self) -> JsonMap:
        """The ledger of the terminal's own relay."""
        return self.relay.ledger()

    async def do_clock(self, offset: float) -> None:
        """Set how many seconds the device's clock is ahead."""
        self.clock_offset = offset

    async def do_reboot(self) -> None:
        """Power cycle. Persons and records stay."""
        self.restart()
