"""Dialect "Luozhi" (`/hiot`): people by add and delete, records, QR check by HTTP (reference 4)."""

import asyncio
import json
import urllib.request
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiomqtt

from lintel.simulators.face_terminal import PICTURE, Person, Terminal, TerminalOptions
from lintel.simulators.parts import Emit, JsonMap, SimulatorError, opt
from lintel.simulators.photos import PhotoFault

_OK, _BAD_REQUEST, _EXISTS, _PHOTO, _FULL = 200, 400, 409, 415, 507


@dataclass(frozen=True, slots=True)
class LuozhiOptions(TerminalOptions):
    """Options of a Luozhi terminal."""

    id: str = opt("AABBCCDDEEFF", "MAC address: the serial number of its topics")
    record_form: Literal["mqtt", "http"] = opt("http", "records as response_type/body (mqtt) or type/data (http)")
    qr_url: str = opt("", "address for QR checks, e.g. http://127.0.0.1:8080/SECRET/qrCode/AABBCCDDEEFF")
    qr_timeout: float = opt(1.0, "seconds to wait for the answer to a QR check")


class Luozhi(Terminal):
    """The terminal. It knows no validity: whoever is stored may pass until deleted."""

    options_class = LuozhiOptions

    def __init__(self, options: LuozhiOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self._luozhi = options
        self._unsent: deque[JsonMap] = deque(maxlen=100)
        self._last: JsonMap | None = None
        self.load_persons()

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """The three command topics; the leading slash is part of the name."""
        return tuple((f"/hiot/{self.id}/{name}", 0) for name in ("add_data", "del_data", "request_setting"))

    def will(self) -> aiomqtt.Will | None:
        """`online` 0."""
        return aiomqtt.Will("/hiot/connection", json.dumps({"mac_address": self.said_id, "online": "0"}), 0)

    async def connected(self) -> None:
        """`online` 1, then what was not heard."""
        self.publish("/hiot/connection", {"mac_address": self.said_id, "online": "1"})
        while self._unsent and self.publish("/hiot/record_message", self._unsent[0]):
            self._unsent.popleft()

    async def message(self, topic: str, payload: bytes) -> None:
        """Take one command."""
        kind = topic.rpartition("/")[2]
        try:
            message: Any = json.loads(payload)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.emit("bad_command")
            return
        self.emit("asked", what=kind)
        self.later(self._execute(kind, message))

    async def _execute(self, kind: str, message: JsonMap) -> None:
        data = message.get("data")
        if self.faults.take("refuse"):
            code, info = _BAD_REQUEST, "refused"
        elif kind == "add_data" and isinstance(data, list):
            code, info = await self._add(data)
        elif kind == "del_data" and isinstance(data, dict):
            code, info = self._delete(data)
        elif kind == "request_setting":
            code, info = self._setting(message)
        else:
            code, info = _BAD_REQUEST, "data"
        answer = {"message_uuid": message.get("message_uuid", ""), "code": code, "message_info": info}
        # The topic of the answer is the platform's choice; the open-door body of known code names none.
        topic = message.get("confirmation_topic") or "/hiot/people_send_reply"
        if self.faults.take("drop_acks"):
            self.emit("ack_dropped", what=kind)
        else:
            self.publish(str(topic), answer)
        if kind == "request_setting" and isinstance(data, dict) and data.get("cmd_type") == "reboot_device":
            self.restart()

    async def _add(self, people: list[Any]) -> tuple[int, str]:
        for raw in people:
            custom_id = raw.get("person_uuid") if isinstance(raw, dict) else None
            if not isinstance(custom_id, str) or not custom_id:
                return _BAD_REQUEST, "person_uuid"
            if custom_id in self.faults.person_errors:
                return int(self.faults.person_errors[custom_id]), "error"
            if self.store.get(custom_id):
                return _EXISTS, "person exists"  # there is no update
            if len(self.store) >= self.store.capacity:
                return _FULL, "full"
            photo = await self.photo("", str(raw.get("image_url") or ""))
            if isinstance(photo, PhotoFault):
                return _PHOTO, f"image {photo}"
            person = self.store.add(custom_id)
            self.fill(person, raw)
            self.store.photographed(person, photo)
            self.emit("stored", person=custom_id)
        return _OK, "success"

    def _delete(self, data: JsonMap) -> tuple[int, str]:
        if data.get("clear_all") is True:
            self.store.clear()
            self.emit("deleted", person="*")
            return _OK, "success"
        ids = data.get("person_uuids")
        if not isinstance(ids, list):
            return _BAD_REQUEST, "person_uuids"
        for custom_id in ids:
            if self.store.remove(str(custom_id)):
                self.emit("deleted", person=custom_id)
        return _OK, "success"

    def _setting(self, message: JsonMap) -> tuple[int, str]:
        data = message.get("data")
        if isinstance(data, dict) and data.get("cmd_type") == "reboot_device":
            return _OK, "success"
        if message.get("cmd") == "gpio control" and message.get("ctrl_type") == "on":
            self.relay.switch_on(self.options.relay_seconds, "gpio control")
            return _OK, "success"
        return _BAD_REQUEST, "unknown setting"

    def _record(self, person: Person | None) -> None:
        body = {
            "mac_address": self.said_id,
            "person_uuid": person.custom_id if person else "",
            "name": person.name if person else "",
            "recog_result": "1" if person else "0",
            "snap_image": PICTURE.partition(",")[2],
        }
        http = self._luozhi.record_form == "http"
        self._last = (
            {"type": "identification_record", "data": body}
            if http
            else {"response_type": "identification_record", "body": body}
        )
        self._tell(self._last)

    def _tell(self, record: JsonMap) -> None:
        for _ in range(2 if self.faults.take("duplicate_push") else 1):
            if not self.publish("/hiot/record_message", record):
                self._unsent.append(record)
                return
        self.emit("pushed", what="identification_record")

    def recognised(self, person: Person, similarity: float, *, allowed: bool) -> None:  # noqa: ARG002  not told
        """`recog_result` 1."""
        self._record(person)

    def stranger(self) -> None:
        """`recog_result` 0."""
        self._record(None)

    async def code_shown(self, text: str) -> None:
        """Ask the platform by HTTP and open when it says so; silence keeps the door shut."""
        if not self._luozhi.qr_url:
            raise SimulatorError("no qr_url: this terminal has nobody to ask")
        answer = await asyncio.to_thread(self._ask, text)
        data = answer.get("data")
        opened = isinstance(data, dict) and str(data.get("opendoor")) == "1"
        self.emit("qr_answered", opened=opened, answered=bool(answer))
        if opened:
            self.relay.switch_on(self.options.relay_seconds, "qr check")

    def _ask(self, text: str) -> JsonMap:
        url, body = self._luozhi.qr_url, json.dumps({"content": text}).encode()
        if not url.startswith(("http://", "https://")):
            return {}
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  http(s) only
        try:
            with urllib.request.urlopen(request, timeout=self._luozhi.qr_timeout) as reply:  # noqa: S310
                answer: object = json.loads(reply.read(65536))
        except (OSError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}

    async def do_duplicate(self) -> JsonMap:
        """Push the last record once more."""
        if self._last is not None:
            self._tell(self._last)
        return {"pushed": self._last is not None}
