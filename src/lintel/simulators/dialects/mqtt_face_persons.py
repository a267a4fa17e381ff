"""The person list of a `mqtt/face` terminal: limits, batches and the two tables of error codes (reference 2.4, 2.5)."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lintel.simulators.face_terminal import PICTURE, Person
from lintel.simulators.parts import JsonMap
from lintel.simulators.photos import PhotoFault

if TYPE_CHECKING:
    from lintel.simulators.dialects.mqtt_face import MqttFace

MAX_BATCH = 1000
MAX_DELETE = 200
MAX_SEARCH = 2000
_LENGTHS = {"customId": 48, "name": 32, "idCard": 32, "telnum1": 32, "address": 72}
_OLDER = {
    "tempCardType": "tempValid",
    "cardValidBegin": "validBegin",
    "cardValidEnd": "validEnd",
    "EffectNumber": "effectNumber",
}

PHOTO_CODES = {
    "batch": {
        PhotoFault.MISSING: "463",
        PhotoFault.NOT_BASE64: "468",
        PhotoFault.HOST: "464",
        PhotoFault.DOWNLOAD: "465",
        PhotoFault.EMPTY: "466",
        PhotoFault.TOO_BIG: "467",
        PhotoFault.NO_FACE: "468",
    },
    "general": {
        PhotoFault.MISSING: "472",
        PhotoFault.NOT_BASE64: "463",
        PhotoFault.HOST: "470",
        PhotoFault.DOWNLOAD: "471",
        PhotoFault.EMPTY: "468",
        PhotoFault.TOO_BIG: "469",
        PhotoFault.NO_FACE: "464",
    },
}
"""The same numbers mean different things in the answers to batches and to single commands."""


class RefusedError(Exception):
    """A command is answered with `result: fail` and this code."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Ack:
    """The good answer to a command. `code` is left out where the documented samples have none."""

    info: JsonMap = field(default_factory=dict)
    code: bool = True
    top: JsonMap = field(default_factory=dict)


def number(value: object, low: int, high: int) -> int:
    """A number that may come as a string. Raises RefusedError 462 outside [low, high]."""
    try:
        found = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise RefusedError("462", "parameter error") from None
    if not low <= found <= high:
        raise RefusedError("462", "parameter error")
    return int(found)


class PersonDesk:
    """Executes the person commands of one terminal, one at a time."""

    def __init__(self, terminal: "MqttFace") -> None:
        self._terminal = terminal
        self._store = terminal.store
        self._turn = asyncio.Lock()
        self.batch = ""
        """Operator of the batch that is running, or empty."""
        self.operators = {
            "EditPerson": self._edit,
            "AddPersons": self._batch,
            "EditPersonsNew": self._batch,
            "DelPerson": self._delete,
            "DeletePersons": self._delete_batch,
            "DeleteAllPerson": self._delete_all,
        }

    async def execute(self, message: JsonMap) -> Ack:
        """Execute one of `operators`. Raises RefusedError; 410 at once while a batch is running."""
        if self.batch:
            raise RefusedError("410", "the previous batch is still running")
        batch = message["operator"] in ("AddPersons", "EditPersonsNew", "DeletePersons")
        if batch:
            self._envelope(message)
            self.batch = message["operator"]
        try:
            async with self._turn:
                return await self.operators[message["operator"]](message)
        finally:
            if batch:
                self.batch = ""

    # Storing.

    async def _edit(self, message: JsonMap) -> Ack:
        info = info_of(message)
        if error := await self._save(info, "general", new_only=False):
            raise RefusedError(error, f"error {error}")
        person = self._store.get(str(info["customId"]))
        return Ack({"customId": info["customId"], "personId": str(person.number if person else 0)})

    async def _batch(self, message: JsonMap) -> Ack:
        good: list[JsonMap] = []
        bad: list[JsonMap] = []
        for raw in message["info"]:
            await asyncio.sleep(self._terminal.face_options.batch_seconds)
            info = raw if isinstance(raw, dict) else {}
            new_only = message["operator"] == "AddPersons"
            error = await self._save(info, self._terminal.face_options.codes, new_only=new_only)
            shown = {"customId": str(info.get("customId", ""))}
            (bad if error else good).append(shown | ({"errcode": error} if error else {}))
        counts = {"AddErrNum": str(len(bad)), "AddSucNum": str(len(good)), "AddErrInfo": bad, "AddSucInfo": good}
        return Ack(counts, code=message["operator"] != "AddPersons")

    async def _save(self, raw: JsonMap, table: str, *, new_only: bool) -> str:
        """Store one person; the error code, or empty."""
        info = {_OLDER.get(name, name): value for name, value in raw.items()}
        custom_id = info.get("customId")
        if not isinstance(custom_id, str) or not custom_id:
            return "461"
        if custom_id in self._terminal.faults.person_errors:
            return self._terminal.faults.person_errors[custom_id]
        if "," in custom_id or any(len(str(info.get(k, "")).encode()) > n for k, n in _LENGTHS.items()):
            return "462"
        known = self._store.get(custom_id)
        if known is not None and new_only:
            return "462"
        trial = Person(custom_id, 0)
        try:
            self.fill(trial, (known.raw if known else {}) | info)
        except (RefusedError, ValueError):
            return "462"
        if known is None and len(self._store) >= self._store.capacity:
            return "474"
        photo = await self._terminal.photo(str(info.get("pic") or ""), str(info.get("picURI") or ""))
        if isinstance(photo, PhotoFault):
            if photo is not PhotoFault.MISSING or known is None:
                return PHOTO_CODES[table][photo]
            photo = known.photo
        if str(info.get("isCheckSimilarity", 0)) == "1" and self._store.like(photo, custom_id):
            return "478"
        person = known or self._store.add(custom_id)
        self.fill(person, info)
        self._store.photographed(person, photo)
        self._terminal.emit("stored", person=custom_id)
        return ""

    def fill(self, person: Person, info: JsonMap) -> None:
        """Take over the person object. Raises RefusedError or ValueError."""
        raw = person.raw | {_OLDER.get(name, name): value for name, value in info.items()}
        kind = number(raw.get("tempValid", 0), 0, 4)
        uses = number(raw.get("effectNumber", 10_000), 0, 1_000_000)
        begin, end = raw.get("validBegin"), raw.get("validEnd")
        if kind in (1, 2, 4) and not (begin and end):
            raise RefusedError("462", "validity is missing")
        person.blocked = number(raw.get("personType", 0), 0, 1) == 1
        person.name = str(raw.get("name", ""))
        timed = kind in (1, 2, 4)  # a window beside tempValid 0 is ignored
        person.valid_from = self._terminal.moment(str(begin)) if timed else None
        person.valid_to = self._terminal.moment(str(end)) if timed else None
        person.uses = uses if kind in (3, 4) else None
        person.raw = raw

    # Deleting.

    async def _delete(self, message: JsonMap) -> Ack:
        custom_id = str(info_of(message).get("customId") or "")
        person = self._store.remove(custom_id)
        if person is None:
            raise RefusedError("461", "customId does not exist")
        self._terminal.emit("deleted", person=custom_id)
        return Ack({"customId": custom_id, "personId": str(person.number)})

    async def _delete_batch(self, message: JsonMap) -> Ack:
        good: list[JsonMap] = []
        bad: list[JsonMap] = []
        kept = self._terminal.faults.take("keep_deleted")
        for custom_id in message["info"]["customId"]:
            await asyncio.sleep(self._terminal.face_options.batch_seconds / 10)
            if kept and self._store.get(str(custom_id)):
                good.append({"customId": custom_id})
            elif self._store.remove(str(custom_id)):
                good.append({"customId": custom_id})
                self._terminal.emit("deleted", person=custom_id)
            else:
                bad.append({"customId": custom_id})
        return Ack({"DelErrNum": str(len(bad)), "DelSucNum": str(len(good)), "DelErrInfo": bad, "DelSucInfo": good})

    async def _delete_all(self, message: JsonMap) -> Ack:
        if str(info_of(message).get("deleteall")) != "1":
            raise RefusedError("462", "deleteall is 1")
        self._store.clear()
        self._terminal.outbox.forget()
        self._terminal.emit("deleted", person="*")
        return Ack()

    def _envelope(self, message: JsonMap) -> None:
        deleting = message["operator"] == "DeletePersons"
        if message.get("DataBegin") != "BeginFlag":
            raise RefusedError("412", "DataBegin is missing")
        if message.get("DataEnd") != "EndFlag":
            raise RefusedError("413", "DataEnd is missing")
        items: Any = message.get("info")
        if deleting:
            items = items.get("customId") if isinstance(items, dict) else None
        if not isinstance(items, list):
            raise RefusedError("414", "info is missing")
        if "PersonNum" not in message:
            raise RefusedError("415", "PersonNum is missing")
        try:
            count = int(message["PersonNum"])
        except (TypeError, ValueError):
            count = -1
        if not 1 <= count <= (MAX_DELETE if deleting else MAX_BATCH):
            raise RefusedError("416", "PersonNum is out of range")
        if count != len(items):
            raise RefusedError("417", "PersonNum is not the number of persons")

    # Asking.

    def query(self) -> Ack:
        """QueryPerson: people enrolled at the device count, but have no id to show."""
        ids = [p.custom_id for p in self._store.all() if p.custom_id]
        counts = {"totalPersonNum": str(len(self._store)), "queryPersonNum": str(len(ids))}
        return Ack(counts | {"customId": ",".join(ids)})

    def search(self, message: JsonMap) -> Ack:
        """SearchPerson: one person, with the photo on demand."""
        info = info_of(message)
        person = self._store.get(str(info.get("customId") or ""))
        if person is None:
            raise RefusedError("461", "customId does not exist")
        top = {"pic": PICTURE} if str(info.get("Picture", 0)) == "1" else {}
        return Ack(self._shown(person), top=top)

    def search_list(self, message: JsonMap) -> Ack:
        """SearchPersonList: a page of persons, no photos."""
        info = info_of(message)
        start = number(info.get("BeginNO", 0), 0, 10_000_000)
        count = number(info.get("RequestCount", 1000), 1, MAX_SEARCH)
        gender, name = str(info.get("gender", 2)), str(info.get("name") or "")
        hits = [p for p in self._store.all() if name in p.name and gender in ("2", str(p.raw.get("gender", 0)))]
        page = [self._shown(p) for p in hits[start : start + count]]
        return Ack({"TotalPersonNum": str(len(hits)), "PersonNum": str(len(page)), "List": page})

    def progress(self) -> Ack:
        """QueryProgress: which batch is running."""
        status = {"": "0", "AddPersons": "1", "EditPersons": "2"}.get(self.batch, "3")
        return Ack({"QueryType": self.batch or "None", "Status": status})

    @staticmethod
    def _shown(person: Person) -> JsonMap:
        left_out = ("pic", "picURI", "isCheckSimilarity")
        fields = {k: str(v) for k, v in person.raw.items() if k not in left_out}
        return fields | {"customId": person.custom_id, "personId": str(person.number)}


def info_of(message: JsonMap) -> JsonMap:
    """The object with the fields of a command; raises RefusedError 414 where it is missing."""
    info = message.get("info")
    if not isinstance(info, dict):
        raise RefusedError("414", "info is missing")
    return info
