"""Dialect `mqtt/face`: life cycle, commands and pushes of the family's protocol document v1.25 (reference 2)."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiomqtt

from lintel.simulators.dialects.mqtt_face_persons import Ack, PersonDesk, RefusedError, info_of, number
from lintel.simulators.dialects.mqtt_face_records import RECORD, SNAP, Entry, Outbox
from lintel.simulators.face_terminal import PICTURE, Person, Terminal, TerminalOptions
from lintel.simulators.parts import Emit, JsonMap, SimulatorError, opt

MAX_PACKET = 1_000_000


@dataclass(frozen=True, slots=True)
class MqttFaceOptions(TerminalOptions):
    """Options of a `mqtt/face` terminal."""

    facesluice_id: str = opt("", "the device's own id inside payloads; empty: the id of its topics")
    name: str = opt("Gate", "facesname in Online")
    heartbeat: float = opt(30.0, "seconds between heartbeats (KeepAliveInterval)")
    repush: float = opt(10.0, "seconds until an unconfirmed record, or Online, is sent again")
    resume: bool = opt(default=True, text="ResumefromBreakpoint at the start: repeat records until PushAck")
    first_record: int = opt(1, "first RecordID and SnapID")
    batch_seconds: float = opt(0.05, "seconds that one person of a batch takes")
    codes: Literal["batch", "general"] = opt("batch", "table of the error codes in AddErrInfo: batch or general")
    qr_keys: Literal["QRCodeInfo", "QRcodeInfo"] = opt("QRCodeInfo", "spelling of QRCodePush; the second with DeviceID")
    name_key: Literal["personName", "persionName"] = opt("personName", "spelling of the name in RecPush")
    scene: bool = opt(default=False, text="send a scene picture with records")
    dean: bool = opt(default=False, text="the 'Dean' variant: no Online, no stranger and QR messages")


class MqttFace(Terminal):
    """The terminal. Besides the common events: `pushed`, `confirmed`, `online_acked`, `asked`, `bad_command`."""

    options_class = MqttFaceOptions

    def __init__(self, options: MqttFaceOptions, emit: Emit) -> None:
        self.face_options = options
        super().__init__(options, emit)
        self._persons = PersonDesk(self)
        self.outbox = Outbox(self._push, options.first_record)
        self._config = self._factory_config()
        self._online_acked = False
        self._online_sent = self._beat = 0.0
        self._simple: dict[str, Callable[[JsonMap], Ack]] = {
            "QueryPerson": lambda _: self._persons.query(),
            "SearchPerson": self._persons.search,
            "SearchPersonList": self._persons.search_list,
            "QueryProgress": lambda _: self._persons.progress(),
            "Unlock": self._unlock,
            "RebootDevice": lambda _: Ack(),
            "GetSysTime": lambda _: Ack({"SysTime": self.local()}),
            "SetSysTime": self._set_time,
            "GetMQTTconfig": lambda _: Ack({k: str(v) for k, v in self._config.items()}),
            "UpMQTTconfig": self._set_config,
            "ManualPushRecords": lambda m: self._manual(m, RECORD),
            "ManualPushSnaps": lambda m: self._manual(m, SNAP),
            "PushAck": self._push_ack,
            "GetSceneSnap": self._scene,
            "SetFactoryDefault": self._factory,
        }
        self.load_persons()

    def fill(self, person: Person, raw: JsonMap) -> None:
        """The person object of the reference, 2.4."""
        try:
            self._persons.fill(person, raw)
        except RefusedError as error:
            raise ValueError(error.detail) from None

    def _factory_config(self) -> JsonMap:
        return {
            "StrangerUploadType": 1,
            "RecordUploadType": 1,
            "KeepAliveInterval": self.face_options.heartbeat,
            "OnlineTopic": "mqtt/face/basic",
            "HeartbeatTopic": "mqtt/face/heartbeat",
            "ResumefromBreakpoint": int(self.face_options.resume),
            "BeginTime": "",
        }

    # Life cycle.

    @property
    def _sluice(self) -> str:
        return self.faults.wrong_identity or self.face_options.facesluice_id or self.id

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """The command topic, QoS 0."""
        return ((f"mqtt/face/{self.id}", 0),)

    def will(self) -> aiomqtt.Will | None:
        """Offline on the topic of Online."""
        body = {"operator": "Offline", "info": {"facesluiceId": self._sluice}}
        return None if self.face_options.dean else aiomqtt.Will(self._config["OnlineTopic"], json.dumps(body), 0)

    async def connected(self) -> None:
        """Say Online, until it is acknowledged."""
        self._online_acked = False
        self._online_sent = self._beat = float("-inf")
        self._tick()

    async def background(self) -> None:
        """Heartbeats, Online again, records again."""
        pace = max(0.05, min(1.0, self.face_options.repush / 5, self.face_options.heartbeat / 5))
        while True:
            await asyncio.sleep(pace)
            if self.online:
                self._tick()

    def _tick(self) -> None:
        now, repush = time.monotonic(), self.face_options.repush
        if not self._online_acked and not self.face_options.dean and now - self._online_sent >= repush:
            self._online_sent = now
            who: JsonMap = {"facesluiceId": self._sluice, "username": "admin", "time": self.local()}
            who |= {"ip": "127.0.0.1", "facesname": self.face_options.name}
            self.publish(self._config["OnlineTopic"], {"operator": "Online", "info": who})
        if now - self._beat >= float(self._config["KeepAliveInterval"]):
            self._beat = now
            beat = {"operator": "HeartBeat", "info": {"facesluiceId": self._sluice, "time": self.local()}}
            self.publish(self._config["HeartbeatTopic"], beat)
        self.outbox.tick(repush, resume=self._resume)

    @property
    def _resume(self) -> bool:
        return str(self._config["ResumefromBreakpoint"]) == "1"

    # Commands of the platform.

    async def message(self, topic: str, payload: bytes) -> None:  # noqa: ARG002  one topic only
        """Take one command; person commands are worked off beside, everything else at once."""
        try:
            message: Any = json.loads(payload)
            operator = message["operator"]
        except (ValueError, KeyError, TypeError):
            self.emit("bad_command")
            return
        if not isinstance(operator, str):
            self.emit("bad_command")
            return
        if operator == "Online-Ack":
            self._online_acked = True
            self.emit("online_acked")
            return
        self.emit("asked", what=operator)
        self.later(self._execute(operator, message, len(payload)))

    async def _execute(self, operator: str, message: JsonMap, size: int) -> None:
        answer: JsonMap = {"messageId": message.get("messageId", ""), "operator": f"{operator}-Ack"}
        try:
            if size > MAX_PACKET:
                raise RefusedError("460", "packet too large")  # noqa: TRY301
            if self.faults.take("refuse"):
                raise RefusedError("462", "refused")  # noqa: TRY301
            if operator in self._persons.operators:
                ack = await self._persons.execute(message)
            elif operator in self._simple:
                ack = self._simple[operator](message)
            else:
                raise RefusedError("462", "unknown operator")  # noqa: TRY301
            answer |= {"code": "200"} if ack.code else {}
            answer |= {"info": {"facesluiceId": self._sluice} | ack.info | {"result": "ok"}} | ack.top
        except RefusedError as error:
            info = {"facesluiceId": self._sluice, "result": "fail", "detail": error.detail}
            answer |= {"code": error.code, "info": info}
            self.emit("refused", what=operator, code=error.code)
        if self.faults.take("drop_acks"):
            self.emit("ack_dropped", what=operator)
        else:
            self.publish(f"mqtt/face/{self.id}/Ack", answer)
        if operator in ("RebootDevice", "SetFactoryDefault", "DeleteAllPerson") and answer["info"]["result"] == "ok":
            self.restart()

    def _unlock(self, message: JsonMap) -> Ack:
        info = info_of(message)
        if str(info.get("DeviceID", self.id)) not in (self.id, self._sluice):
            raise RefusedError("463", "unknown device id")
        number(info.get("Chn", 0), 0, 0)
        self.relay.switch_on(self.options.relay_seconds, "Unlock")
        return Ack()

    def _set_time(self, message: JsonMap) -> Ack:
        info = info_of(message)
        try:
            wanted = self.moment(str(info.get("SysTime", info.get("sysTime"))))
        except ValueError:
            raise RefusedError("462", "SysTime is YYYY-MM-DD hh:mm:ss") from None
        self.clock_offset = wanted - time.time()
        self.emit("clock_set", offset=self.clock_offset)
        return Ack()

    def _set_config(self, message: JsonMap) -> Ack:
        wanted = {k: v for k, v in info_of(message).items() if k in self._config}
        number(wanted.get("ResumefromBreakpoint", 0), 0, 1)
        number(wanted.get("KeepAliveInterval", 30), 1, 3600)
        for name in ("OnlineTopic", "HeartbeatTopic"):
            topic = wanted.get(name, "x")
            if not isinstance(topic, str) or not topic or "+" in topic or "#" in topic:
                raise RefusedError("462", f"{name} is no topic")
        self._config |= wanted
        self.emit("configured", config=self._config)
        return Ack()

    def _manual(self, message: JsonMap, kind: int) -> Ack:
        info = info_of(message)
        times = []
        for name, missing in (("TimeS", "464"), ("TimeE", "465")):
            try:
                times.append(self.moment(str(info[name])))
            except (KeyError, ValueError):
                raise RefusedError(missing, f"{name} is missing") from None
        self.outbox.replay(kind, *times)
        return Ack()

    def _push_ack(self, message: JsonMap) -> Ack:
        info = info_of(message)
        kind, which = number(info.get("PushAckType"), 1, 3), number(info.get("SnapOrRecordID"), 0, 2**53)
        if not self.outbox.confirm(kind, which):
            raise RefusedError("462", "no such record")
        self.emit("confirmed", number=which)
        return Ack({"PushAckType": str(kind), "SnapOrRecordID": str(which)}, code=False)

    def _scene(self, message: JsonMap) -> Ack:
        number(info_of(message).get("ImgQuality", 80), 55, 100)
        return Ack({"ImgData": PICTURE})

    def _factory(self, message: JsonMap) -> Ack:  # noqa: ARG002  every command has its message
        self.store.clear()
        self.outbox.reset()
        self._config = self._factory_config()
        return Ack()

    # What the terminal tells.

    def _push(self, entry: Entry, sendintime: int) -> bool:
        topic, operator = ("Rec", "RecPush") if entry.kind == RECORD else ("Snap", "StrSnapPush")
        info = entry.info | {"facesluiceId": self._sluice, "PushType": entry.push_type}
        if entry.kind == RECORD:
            info["Sendintime"] = sendintime
        sent = False
        for _ in range(2 if self.online and self.faults.take("duplicate_push") else 1):
            sent = self.publish(f"mqtt/face/{self.id}/{topic}", {"operator": operator, "info": info})
        if sent:
            self.emit("pushed", what=operator, number=entry.number, count=entry.count + 1)
        return sent

    def _seen(self) -> JsonMap:
        info = {"time": self.local(), "isNoMask": "1", "targetPosInScene": [346, 0, 1572, 1080], "pic": PICTURE}
        return info | ({"scene": PICTURE} if self.face_options.scene else {})

    def recognised(self, person: Person, similarity: float, *, allowed: bool) -> None:
        """RecPush: numbers are strings but for Sendintime, PushType and targetPosInScene."""
        info: JsonMap = {
            "customId": person.custom_id,
            "personId": str(person.number),
            "RecordID": str(self.outbox.next_number(RECORD)),
            "VerifyStatus": "1" if allowed else "2",
            "PersonType": str(int(person.blocked)),
            "similarity1": f"{similarity:.6f}",
            self.face_options.name_key: person.name,
            "idCard": "",
            "telnum": " ",
        }
        self.outbox.add(RECORD, self.now(), info | self._seen(), resume=self._resume)

    def stranger(self) -> None:
        """StrSnapPush."""
        if not self.face_options.dean:
            info = {"SnapID": str(self.outbox.next_number(SNAP))} | self._seen()
            self.outbox.add(SNAP, self.now(), info, resume=self._resume)

    async def code_shown(self, text: str) -> None:
        """QRCodePush, in one of its two spellings. It is not stored and not repeated."""
        if self.face_options.dean:
            raise SimulatorError("the Dean variant has no QR message")
        info: JsonMap = {"facesluiceId": self._sluice, "time": self.local(), "QRCodeInfo": text}
        if self.face_options.qr_keys == "QRcodeInfo":
            device = int(self._sluice) if self._sluice.isdigit() else self._sluice
            info = {"DeviceID": device, "QRcodeInfo": text}
        for _ in range(2 if self.faults.take("duplicate_push") else 1):
            self.publish(f"mqtt/face/{self.id}/QRCode", {"operator": "QRCodePush", "info": info})
        self.emit("pushed", what="QRCodePush")

    # Commands at the keyboard.

    async def do_duplicate(self) -> JsonMap:
        """Push the last record once more."""
        return {"pushed": self.outbox.again(RECORD)}

    async def do_records(self) -> JsonMap:
        """Numbers of the records that were not confirmed yet."""
        return {"waiting": self.outbox.waiting()}

    async def do_factory_default(self) -> None:
        """Somebody resets the device: no persons, no records, RecordID starts at 1."""
        self._factory({})
        self.restart()
