"""Dialect "YLD": flat JSON commands, events without acknowledgement (reference 3)."""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lintel.simulators.face_terminal import PICTURE, Person, Terminal, TerminalOptions
from lintel.simulators.parts import Emit, JsonMap, opt
from lintel.simulators.photos import PhotoFault


@dataclass(frozen=True, slots=True)
class YldOptions(TerminalOptions):
    """Options of a YLD terminal."""

    id: str = opt("SN001", "serial number, as in its topics")
    spelling: Literal["slash", "dot"] = opt("slash", "event topics face/response or face.response: slash or dot")
    matched_as: Literal["text", "number"] = opt("text", "similarity in events as text or number")
    image_key: Literal["face_imgdata", "img_data"] = opt("img_data", "name of the picture in events")


class Yld(Terminal):
    """The terminal. What happens off-line is told, late, after the next connection."""

    options_class = YldOptions

    def __init__(self, options: YldOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self._yld = options
        self._sequence = 0
        self._unsent: deque[JsonMap] = deque(maxlen=100)
        self._last: JsonMap | None = None
        self.load_persons()

    def _topic(self, name: str) -> str:
        return f"{name}/response" if self._yld.spelling == "slash" else f"{name}.response"

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """`face.{sn}.request`, dots and all."""
        return ((f"face.{self.id}.request", 0),)

    async def connected(self) -> None:
        """Say mqtt_online, then what was not heard."""
        self.publish(self._topic("online"), {"cmd": "mqtt_online", "sn": self.said_id, "result": "ok"})
        while self._unsent and self.publish(self._topic("face"), self._unsent[0]):
            self._unsent.popleft()

    async def message(self, topic: str, payload: bytes) -> None:  # noqa: ARG002  one topic only
        """Take one command."""
        try:
            message: Any = json.loads(payload)
            name, number = message["cmd"], message["cmd_id"]
        except (ValueError, KeyError, TypeError):
            self.emit("bad_command")
            return
        self.emit("asked", what=name)
        self.later(self._execute(name, number, message))

    async def _execute(self, name: str, number: object, message: JsonMap) -> None:
        if self.faults.take("refuse"):
            code, reply = 1, "refused"
        elif name in ("create_face", "update_face"):
            code, reply = await self._store_face(message)
        elif name == "delete_face":
            code, reply = self._delete(message)
        elif name == "gpio control" and message.get("ctrl_type") == "on":
            self.relay.switch_on(self.options.relay_seconds, "gpio control")
            code, reply = 0, "success"
        elif name in ("reboot_cam", "set_ui_title"):
            code, reply = 0, "success"
        else:
            code, reply = 1, "unknown command"
        answer = {"cmd": name, "cmd_id": number, "sn": self.said_id, "code": code, "reply": reply}
        if self.faults.take("drop_acks"):
            self.emit("ack_dropped", what=name)
        else:
            self.publish(f"face.{self.id}.response", answer)
        if name == "reboot_cam" and code == 0:
            self.restart()

    async def _store_face(self, message: JsonMap) -> tuple[int, str]:
        custom_id = message.get("per_id")
        if not isinstance(custom_id, str) or not custom_id:
            return 1, "per_id"
        if custom_id in self.faults.person_errors:
            return int(self.faults.person_errors[custom_id]), "error"
        known = self.store.get(custom_id)
        if (known is None) == (message["cmd"] == "update_face"):
            return 1, "no such person" if known is None else "person exists"
        if known is None and len(self.store) >= self.store.capacity:
            return 1, "full"
        try:
            self.fill(Person(custom_id, 0), message)
        except ValueError:
            return 1, "parameter"
        photo = await self.photo("", str(message.get("img_url") or ""))
        if isinstance(photo, PhotoFault):
            if known is None or photo is not PhotoFault.MISSING:
                return 1, ""  # without a word, as the device does
            photo = known.photo
        person = known or self.store.add(custom_id)
        self.fill(person, message)
        self.store.photographed(person, photo)
        self.emit("stored", person=custom_id)
        return 0, "success"

    def fill(self, person: Person, raw: JsonMap) -> None:
        """`per_name`, `s_time`, `e_time` (Unix milliseconds); a persons file may say `name`."""
        person.raw |= raw
        person.name = str(raw.get("per_name", raw.get("name", person.name)))
        for field, key in (("valid_from", "s_time"), ("valid_to", "e_time")):
            if raw.get(key) is not None:
                if isinstance(raw[key], bool) or not isinstance(raw[key], int):
                    raise ValueError(key)
                setattr(person, field, raw[key] / 1000)

    def _delete(self, message: JsonMap) -> tuple[int, str]:
        if message.get("type") == 4:
            self.store.clear()
            self.emit("deleted", person="*")
            return 0, "success"
        custom_id = str(message.get("per_id") or "")
        if message.get("type") != 0 or self.store.remove(custom_id) is None:
            return 1, "no such person"
        self.emit("deleted", person=custom_id)
        return 0, "success"

    def _result(self, person: Person | None, similarity: float) -> None:
        self._sequence += 1
        at = self.now()
        self._last = {
            "type": "face_result",
            "body": {
                "sn": self.said_id,
                "per_id": person.custom_id if person else "",
                "name": person.name if person else "",
                "matched": f"{similarity:.1f}" if self._yld.matched_as == "text" else similarity,
                "role": "0",
                "hat": "0",
                "sec": int(at),
                "usec": int(at % 1 * 1e6),
                "sequence": self._sequence,
                self._yld.image_key: PICTURE,
                "idCard": "",
            },
        }
        self._tell(self._last)

    def _tell(self, event: JsonMap) -> None:
        for _ in range(2 if self.faults.take("duplicate_push") else 1):
            if not self.publish(self._topic("face"), event):
                self._unsent.append(event)
                return
        self.emit("pushed", what="face_result", number=event["body"]["sequence"])

    def recognised(self, person: Person, similarity: float, *, allowed: bool) -> None:  # noqa: ARG002  no verdict told
        """`face_result`; the terminal's own verdict is not part of it."""
        self._result(person, similarity)

    def stranger(self) -> None:
        """`face_result` with an empty `per_id`."""
        self._result(None, 0.0)

    async def do_duplicate(self) -> JsonMap:
        """Push the last event once more, same sequence."""
        if self._last is not None:
            self._tell(self._last)
        return {"pushed": self._last is not None}
