"""The YLD and Luozhi terminals, driven by paho: protocol reference 3 and 4."""

import asyncio
import http.server
import json
import threading

from lintel.simulators.client import Simulator


def drive(work, broker, topics, platform, *options):
    arguments = ("face-terminal", "--broker", broker, "--retry", "0.1", "--fetch-photos", "false", *options)

    async def run():
        far = platform(*topics)
        async with asyncio.timeout(20), Simulator(*arguments) as sim:
            await work(sim, far)

    asyncio.run(run())


def yld(work, broker, platform, *options):
    topics = ("face.SN001.response", "face/response", "face.response", "online/response", "online.response")
    drive(work, broker, topics, platform, "--dialect", "yld", *options)


CREATE = {
    "client_id": "SN001",
    "cmd_id": "c-1",
    "version": "0.2",
    "cmd": "create_face",
    "per_id": "1001",
    "face_id": "1001",
    "per_name": "Test",
    "idcardNum": "",
    "idcardper": "",
    "img_url": "http://192.0.2.10/f/1001.jpg",
    "s_time": 1767225600000,
    "e_time": 1798761599000,
    "per_type": 0,
    "usr_type": 0,
}


async def yld_ask(far, message, **changes):
    message = message | changes
    far.say("face.SN001.request", message)
    return await asyncio.to_thread(
        far.next, lambda t, b: t == "face.SN001.response" and b["cmd_id"] == message["cmd_id"]
    )


def test_yld_vectors(broker, platform):
    async def work(sim, far):
        online = await asyncio.to_thread(far.next, lambda t, _: t == "online/response")
        assert online == {"cmd": "mqtt_online", "sn": "SN001", "result": "ok"}
        got = await yld_ask(far, CREATE)
        assert got == {"cmd": "create_face", "cmd_id": "c-1", "sn": "SN001", "code": 0, "reply": "success"}
        assert (await yld_ask(far, CREATE, cmd_id="c-1b"))["code"] != 0, "it exists"
        got = await yld_ask(far, CREATE, cmd_id="c-1c", per_id="1002", img_url="photo.internal")
        assert (got["code"], got["reply"]) == (1, ""), "a bad photo address fails without a word"
        opened = {"client_id": "SN001", "cmd_id": "c-2", "version": "0.2", "cmd": "gpio control", "ctrl_type": "on"}
        assert (await yld_ask(far, opened))["code"] == 0
        assert (await yld_ask(far, opened, cmd_id="c-3", ctrl_type="off"))["code"] != 0
        assert (await sim.command("ledger"))["orders"] == 1
        assert (await sim.command("face", person="1001", similarity=91.2))["known"] is True
        body = (await asyncio.to_thread(far.next, lambda t, _: t == "face/response"))["body"]
        assert (body["sn"], body["per_id"], body["matched"], body["sequence"]) == ("SN001", "1001", "91.2", 1)
        assert isinstance(body["sec"], int)
        await sim.command("stranger")
        assert (await asyncio.to_thread(far.next, lambda t, _: t == "face/response"))["body"]["per_id"] == ""
        assert (await yld_ask(far, {"cmd": "delete_face", "cmd_id": "c-4", "type": 0, "per_id": "1001"}))["code"] == 0
        assert (await yld_ask(far, {"cmd": "delete_face", "cmd_id": "c-5", "type": 0, "per_id": "1001"}))["code"] != 0
        assert (await sim.command("persons"))["count"] == 0

    yld(work, broker, platform)


def test_yld_validity_and_late_events_with_dots(broker, platform):
    async def work(sim, far):
        await yld_ask(far, CREATE, s_time=1000, e_time=2000)
        assert (await sim.command("face", person="1001"))["allowed"] is False
        await asyncio.to_thread(far.next, lambda t, _: t == "face.response")
        await sim.command("disconnect")
        await sim.command("stranger")
        await sim.command("connect")
        late = await asyncio.to_thread(far.next, lambda t, _: t == "face.response")
        assert late["body"]["sequence"] == 2

    yld(work, broker, platform, "--spelling", "dot", "--matched-as", "number")


MAC = "AABBCCDDEEFF"
REPLY = "/hiot/lintel/gw1/reply"


def luozhi(work, broker, platform, *options):
    topics = (REPLY, "/hiot/record_message", "/hiot/connection", "/hiot/people_send_reply")
    drive(work, broker, topics, platform, "--dialect", "luozhi", *options)


async def luozhi_ask(far, topic, number, data):
    far.say(
        f"/hiot/{MAC}/{topic}",
        {"confirmation_topic": REPLY, "message_uuid": number, "message_id": "0", "data": data},
    )
    return await asyncio.to_thread(far.next, lambda t, b: t == REPLY and b["message_uuid"] == number)


def test_luozhi_vectors(broker, platform):
    person = {"person_uuid": "1001", "name": "Test", "product_key": "", "image_url": "http://192.0.2.10/f/1001.jpg"}

    async def work(sim, far):
        online = await asyncio.to_thread(far.next, lambda t, _: t == "/hiot/connection")
        assert online == {"mac_address": MAC, "online": "1"}
        got = await luozhi_ask(far, "add_data", "m-1", [person | {"card": "", "gender": 0, "age": 0}])
        assert got == {"message_uuid": "m-1", "code": 200, "message_info": "success"}
        assert (await luozhi_ask(far, "add_data", "m-1b", [person]))["code"] != 200, "there is no update"
        await sim.command("face", person="1001")
        record = await asyncio.to_thread(far.next, lambda t, _: t == "/hiot/record_message")
        assert record["type"] == "identification_record"
        assert {k: v for k, v in record["data"].items() if k != "snap_image"} == {
            "mac_address": MAC,
            "person_uuid": "1001",
            "name": "Test",
            "recog_result": "1",
        }
        got = await luozhi_ask(far, "del_data", "m-2", {"clear_all": False, "person_uuids": ["1001"]})
        assert got["code"] == 200
        assert (await sim.command("persons"))["count"] == 0
        far.say(f"/hiot/{MAC}/request_setting", {"cmd": "gpio control", "ctrl_type": "on", "cmd_id": "x"})
        await sim.event("unlocked")
        await luozhi_ask(far, "request_setting", "m-3", {"cmd_type": "reboot_device"})
        off = await asyncio.to_thread(far.next, lambda t, _: t == "/hiot/connection")
        assert off == {"mac_address": MAC, "online": "0"}
        await asyncio.to_thread(far.next, lambda t, b: t == "/hiot/connection" and b["online"] == "1")

    luozhi(work, broker, platform, "--reboot-seconds", "0.1")


class _Checks(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"result": 0, "data": {"opendoor": int(asked["content"] == "L1:GOOD")}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_luozhi_asks_about_a_qr_code_and_stays_shut_without_an_answer(broker, platform):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Checks)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    async def work(sim, _far):
        await sim.command("qr", text="L1:BAD")
        assert (await sim.event("qr_answered"))["opened"] is False
        await sim.command("qr", text="L1:GOOD")
        assert (await sim.event("qr_answered"))["opened"] is True
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await sim.command("qr", text="L1:GOOD")
        assert (await sim.event("qr_answered"))["answered"] is False
        ledger = await sim.command("ledger")
        assert ledger["sources"] == ["qr check"]

    luozhi(work, broker, platform, "--qr-url", f"http://127.0.0.1:{server.server_port}/s/qrCode/{MAC}")
