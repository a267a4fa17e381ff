"""The person lists of the terminals on an MQTT line: one command at a time for each, within the limits of its profile.

Orders and acknowledgements never wait for it: what is sent here goes out in one piece of bounded length, and nothing
holds the line while an answer is awaited.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from lintel.edge.drivers.mqtt_devices import Terminal
from lintel.edge.drivers.mqtt_link import NotSent
from lintel.edge.persons import Busy, Keeping, Listed, NotNow, Person, Presence, Told, Verdict
from lintel.edge.profiles import mqtt_people as people
from lintel.edge.profiles.mqtt_people_spec import Persons

if TYPE_CHECKING:
    from lintel.edge.drivers.base import Context
    from lintel.edge.drivers.mqtt_session import Session

_AWAY = "the terminal is not there, or the line is down"


class PersonLists:
    """What `MqttTerminals` can do about persons; see `persons.KeepsPersons`."""

    def __init__(self, context: "Context", terminals: Mapping[str, Terminal], photo_url: str) -> None:
        self.context, self.terminals, self.photo_url = context, terminals, photo_url
        self._session: Session | None = None
        self._zone = ZoneInfo(context.timezone)
        self._turns = {device: asyncio.Lock() for device in terminals}
        self._free_at: dict[str, float] = {}

    def keeping(self, device: str) -> Keeping | None:
        """See `KeepsPersons`."""
        terminal = self.terminals.get(device)
        spec = terminal.spec.persons if terminal is not None else None
        if terminal is None or spec is None:
            return None
        fillers = {*spec.object.values(), *terminal.spec.command[spec.put].field.values()}
        return Keeping(
            batch=spec.batch,
            drop_batch=spec.drop_batch,
            photos="person_photo" in fillers and not (self.photo_url and "person_photo_url" in fillers),
            lists=spec.query is not None and spec.listing is not None,
            enforces_validity=terminal.spec.enforces_validity,
        )

    def presence(self, device: str) -> Presence:
        """See `KeepsPersons`. A model without heartbeats is taken to be there until its absence is told."""
        terminal, session = self.terminals[device], self._session
        here = terminal.alive or (terminal.alive is None and terminal.spec.heartbeat_s is None)
        there = bool(here) and session is not None and session.prompt()
        return Presence(
            there, terminal.turn + terminal.wiped, terminal.wiped, terminal.seen if terminal.alive else None
        )

    async def put(self, device: str, persons: Sequence[Person]) -> list[Told]:
        """See `KeepsPersons`."""
        terminal, spec = self._of(device)
        good, told = [], []
        for person in persons:
            wrong = self._unfit(spec, terminal, person)
            good += [person] if wrong is None else []
            told += [wrong] if wrong is not None else []
        if not good:
            return told
        async with self._turns[device]:
            if spec.first is not None:
                await self._clear_first(terminal, spec, good)
            return told + await self._put(terminal, spec, good)

    async def _clear_first(self, terminal: Terminal, spec: Persons, persons: Sequence[Person]) -> None:
        """Delete before adding, where a terminal knows no other way. That nobody was there is no mistake."""
        assert spec.first is not None  # noqa: S101  the caller asked
        answer = await self._say(terminal, spec, spec.first, [people.Face(p.id) for p in persons])
        if answer is None:
            raise NotNow("the terminal did not answer the deletion that goes before")

    async def _put(self, terminal: Terminal, spec: Persons, persons: Sequence[Person]) -> list[Told]:
        """One command; a whole one that is refused is tried again in halves, so that one person stops nobody else."""
        one = len(persons) == 1
        names = [spec.update, spec.put] if spec.update and one and persons[0].known else [spec.put, spec.update]
        faces = [self._face(p) for p in persons]
        ids = [p.id for p in persons]
        said: people.Refusal | None = None
        left = False
        for name in (n for n in names if n is not None):
            try:
                answer = await self._say(terminal, spec, name, faces)
            except ValueError as error:
                said = said or people.Refusal(Verdict.PHOTO_BAD, "too_large", str(error), busy=False)
                break
            except NotNow:
                if said is None:
                    raise
                break
            left = True
            if answer is None:
                return [Told(i, Verdict.UNKNOWN, text="no answer") for i in ids]
            good, document = answer
            if good:
                return people.told(spec, spec.put_results, ids, document)
            no = people.refusal(spec, document)
            if no.busy:
                raise Busy(f"the terminal is busy: {no.code} {no.text}".rstrip())
            said = said or no
            if not one:
                break
        assert said is not None  # noqa: S101  every way out of the loop before said something
        if one:
            return [Told(ids[0], said.verdict, said.code, said.text, left)]
        half = len(persons) // 2
        return await self._half(terminal, spec, persons[:half]) + await self._half(terminal, spec, persons[half:])

    async def _half(self, terminal: Terminal, spec: Persons, persons: Sequence[Person]) -> list[Told]:
        try:
            return await self._put(terminal, spec, persons)
        except NotNow as error:
            return [Told(p.id, Verdict.RETRY_LATER, text=str(error)) for p in persons]

    async def drop(self, device: str, ids: Sequence[str]) -> list[Told]:
        """See `KeepsPersons`."""
        terminal, spec = self._of(device)
        async with self._turns[device]:
            answer = await self._say(terminal, spec, spec.drop, [people.Face(i) for i in ids])
        if answer is None:
            return [Told(i, Verdict.UNKNOWN, text="no answer") for i in ids]
        good, document = answer
        if good:
            return people.told(spec, spec.drop_results, ids, document)
        no = people.refusal(spec, document)
        if no.busy:
            raise Busy(f"the terminal is busy: {no.code} {no.text}".rstrip())
        verdict = Verdict.DONE if len(ids) == 1 and no.code in spec.absent else no.verdict
        return [Told(i, verdict, no.code, no.text) for i in ids]

    async def listed(self, device: str) -> Listed:
        """See `KeepsPersons`."""
        terminal, spec = self._of(device)
        if spec.query is None or spec.listing is None:
            raise NotNow("this model does not say who is on it")
        async with self._turns[device]:
            answer = await self._say(terminal, spec, spec.query, ())
        if answer is None:
            raise NotNow("the terminal does not say who is on it")
        found = people.listed(spec.listing, answer[1]) if answer[0] else None
        if found is None:
            raise NotNow("the terminal's list can not be read, or is cut off")
        return found

    def _of(self, device: str) -> tuple[Terminal, Persons]:
        terminal = self.terminals[device]
        if terminal.spec.persons is None or not self.presence(device).there:
            raise NotNow(_AWAY)
        return terminal, terminal.spec.persons

    def _unfit(self, spec: Persons, terminal: Terminal, person: Person) -> Told | None:
        """Why somebody can not be sent at all."""
        if len(person.id.encode()) > spec.longest_id:
            return Told(
                person.id, Verdict.BUG, "id_too_long", f"this terminal takes {spec.longest_id} characters", left=False
            )
        if not person.photo and not self.photo_url:
            said = f"{terminal.device.id}: the line has no photo_url"
            return Told(person.id, Verdict.BUG, "no_photo_url", said, left=False)
        return None

    def _face(self, person: Person) -> people.Face:
        photo = f"data:image/jpeg;base64,{base64.b64encode(person.photo).decode()}" if person.photo else None
        url = self.photo_url.replace("{person}", person.id) if self.photo_url and not photo else None
        return people.Face(person.id, person.shown, person.valid_from, person.valid_to, photo, url)

    async def _say(
        self, terminal: Terminal, spec: Persons, name: str, faces: Sequence[people.Face]
    ) -> tuple[bool, JsonValue] | None:
        """Send a command when its time has come and wait for its answer. Raises NotNow, ValueError: it is too long."""
        mono = self.context.clock.now().mono
        wait = self._free_at.get(terminal.device.id, 0.0) - mono
        if wait > 0:
            await asyncio.sleep(wait)
        session = self._session
        if session is None or terminal.alive is False or not session.prompt():
            raise NotNow(_AWAY)
        self._free_at[terminal.device.id] = self.context.clock.now().mono + spec.pause_s
        command = terminal.spec.command[name]
        values: dict[str, JsonValue] = people.values(spec, faces, self._zone)
        longer = spec.per_person_s * len(faces)
        try:
            return await session.out.ask(terminal, command, values, longer, spec.packet)
        except NotSent as error:
            raise NotNow(str(error)) from None
