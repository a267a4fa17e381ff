"""The `mqtt/face` terminal, driven by paho: protocol reference 2.2 to 2.8, string typing included."""

import asyncio

import pytest

from .face_platform import COMMAND, ID, ask, drive, seen


def test_online_until_acknowledged_then_heartbeats_then_the_last_will(broker, platform):
    async def work(sim, far):
        online = await seen(far, "Online")
        assert set(online["info"]) == {"facesluiceId", "username", "time", "ip", "facesname"}
        await seen(far, "Online")  # not acknowledged: again
        far.say(COMMAND, {"messageId": "o1", "operator": "Online-Ack", "info": {"facesluiceId": ID, "result": "ok"}})
        await sim.event("online_acked")
        count = far.count(lambda _, b: b.get("operator") == "Online")
        beat = await seen(far, "HeartBeat")
        assert set(beat["info"]) == {"facesluiceId", "time"}
        await asyncio.sleep(0.5)
        assert far.count(lambda _, b: b.get("operator") == "Online") == count
        await sim.command("disconnect", seconds=0.1)
        await sim.event("connected")
        assert far.count(lambda _, b: b.get("operator") == "Offline") == 0, "a polite farewell sends no last will"
        await sim.command("disconnect", will=True)
        assert (await seen(far, "Offline")) == {"operator": "Offline", "info": {"facesluiceId": ID}}

    drive(work, broker, platform, "--repush", "0.3", "--heartbeat", "0.2")


def test_a_record_is_typed_as_documented_and_repeated_until_confirmed(broker, platform, tmp_path):
    people = [{"customId": "p-1", "name": "One"}, {"customId": "", "name": "Test"}]

    async def work(sim, far):
        await sim.command("face", person="p-1")
        first = (await seen(far, "RecPush"))["info"]
        ints = {"Sendintime", "PushType"}
        assert {k for k, v in first.items() if isinstance(v, int)} == ints
        assert first["targetPosInScene"] == [346, 0, 1572, 1080]
        assert (first["RecordID"], first["VerifyStatus"], first["similarity1"]) == ("7", "1", "94.000000")
        again = (await seen(far, "RecPush"))["info"]
        assert again == first, "not confirmed: the same record again"
        await sim.command("face", number=2, similarity=83)
        local = (await seen(far, "RecPush", within=1))["info"]
        while local["RecordID"] != "8":
            local = (await seen(far, "RecPush"))["info"]
        assert (local["customId"], local["personId"]) == ("", "2")
        for number in ("7", 8):  # text or number
            ack = {"PushAckType": 2, "SnapOrRecordID": number}
            got = await ask(far, "PushAck", ack, f"a-{number}")
            assert "code" not in got
            assert got["info"]["SnapOrRecordID"] == str(number)
        assert (await sim.command("records"))["waiting"] == []
        count = far.count(lambda _, b: b.get("operator") == "RecPush")
        await asyncio.sleep(0.8)
        assert far.count(lambda _, b: b.get("operator") == "RecPush") == count
        wrong = await ask(far, "PushAck", {"PushAckType": 2, "SnapOrRecordID": "99"}, "a-99")
        assert wrong["info"]["result"] == "fail"

    drive(work, broker, platform, "--repush", "0.3", "--first-record", "7", persons=people, tmp_path=tmp_path)


def test_the_terminal_judges_by_its_own_list(broker, platform, tmp_path):
    window = {"tempValid": 1, "validBegin": "2020-01-01 00:00:00", "validEnd": "2020-12-31 00:00:00"}
    people = [
        {"customId": "blocked", "personType": 1},
        {"customId": "past"} | window,
        {"customId": "ignored"} | window | {"tempValid": 0},
        {"customId": "once", "tempCardType": 3, "EffectNumber": 1},
    ]

    async def work(sim, far):
        verdicts = {}
        for name in ("blocked", "past", "ignored", "once", "once"):
            await sim.command("face", person=name)
            verdicts.setdefault(name, []).append((await seen(far, "RecPush"))["info"]["VerifyStatus"])
        assert verdicts == {"blocked": ["2"], "past": ["2"], "ignored": ["1"], "once": ["1", "2"]}
        assert (await sim.command("face", person="nobody"))["known"] is False
        assert (await seen(far, "StrSnapPush"))["info"]["SnapID"] == "1"
        assert (await sim.command("ledger"))["orders"] == 0, "without local_open only the platform opens"

    drive(work, broker, platform, persons=people, tmp_path=tmp_path)


def test_unlock_and_its_faults(broker, platform):
    unlock = {"DeviceID": ID, "Chn": 0, "status": 0, "msg": "hi"}

    async def work(sim, far):
        got = await ask(far, "Unlock", unlock, "u1")
        assert (got["code"], got["info"]["result"]) == ("200", "ok")
        event = await sim.event("unlocked")
        assert event["source"] == "Unlock"
        assert (await ask(far, "Unlock", unlock | {"DeviceID": "other"}, "u2"))["code"] == "463"
        await sim.command("fault", refuse=1)
        assert (await ask(far, "Unlock", unlock, "u3"))["info"]["result"] == "fail"
        await sim.command("fault", drop_acks=1)
        far.say(COMMAND, {"messageId": "u4", "operator": "Unlock", "info": unlock})
        await sim.event("ack_dropped")
        ledger = await sim.command("ledger")
        assert ledger["orders"] == 2
        assert len(ledger["times"]) == 2
        await sim.command("fault", wrong_identity="999")
        assert (await ask(far, "QueryPerson", {}, "u5"))["info"]["facesluiceId"] == "999"

    drive(work, broker, platform)


def test_off_line_records_come_late_and_can_be_asked_for_again(broker, platform, tmp_path):
    async def work(sim, far):
        await sim.command("disconnect", will=True)
        await sim.command("face", person="p-1")
        await sim.command("connect")
        early = (await seen(far, "RecPush"))["info"]
        assert (early["Sendintime"], early["RecordID"]) == (1, "1"), "a short gap is still in time"
        await ask(far, "PushAck", {"PushAckType": 2, "SnapOrRecordID": "1"}, "a1")
        span = {"TimeS": early["time"], "TimeE": early["time"]}
        assert (await ask(far, "ManualPushRecords", {"TimeS": early["time"]}, "r1"))["code"] == "465"
        await ask(far, "ManualPushRecords", span, "r2")
        replay = (await seen(far, "RecPush"))["info"]
        assert (replay["PushType"], replay["Sendintime"], replay["RecordID"]) == (2, 0, "1")
        await sim.command("fault", duplicate_push=1)
        await sim.command("face", person="p-1")
        pair = [(await seen(far, "RecPush"))["info"]["RecordID"] for _ in range(2)]
        assert pair == ["2", "2"]
        await sim.command("factory_default")
        await sim.event("connected")
        await sim.command("enrol", name="New")
        await sim.command("face", number=(await sim.command("persons"))["persons"][0]["number"])
        assert (await seen(far, "RecPush"))["info"]["RecordID"] == "1"

    options = ("--repush", "5", "--reboot-seconds", "0.1")
    drive(work, broker, platform, *options, persons=[{"customId": "p-1"}], tmp_path=tmp_path)


def test_after_ten_seconds_a_record_is_late(broker, platform, tmp_path):
    async def work(sim, far):
        await sim.command("disconnect")
        await sim.command("face", person="p-1")
        await asyncio.sleep(10.2)
        await sim.command("connect")
        assert (await seen(far, "RecPush"))["info"]["Sendintime"] == 0

    drive(work, broker, platform, persons=[{"customId": "p-1"}], tmp_path=tmp_path)


def test_both_spellings_of_a_qr_code(broker, platform):
    async def first(sim, far):
        await sim.command("qr", text="L1:TEST")
        info = (await seen(far, "QRCodePush"))["info"]
        assert (info["facesluiceId"], info["QRCodeInfo"]) == (ID, "L1:TEST")

    async def second(sim, far):
        await sim.command("qr", text="L1:TEST")
        assert (await seen(far, "QRCodePush"))["info"] == {"DeviceID": int(ID), "QRcodeInfo": "L1:TEST"}

    drive(first, broker, platform)
    drive(second, broker, platform, "--qr-keys", "QRcodeInfo")


def test_clock_and_settings(broker, platform, tmp_path):
    async def work(sim, far):
        await ask(far, "SetSysTime", {"SysTime": "2031-05-06 07:08:09"}, "t1")
        got = await ask(far, "GetSysTime", {}, "t2")
        assert got["info"]["SysTime"].startswith("2031-05-06 07:08:")
        await ask(far, "UpMQTTconfig", {"facesluiceId": ID, "ResumefromBreakpoint": 0}, "t3")
        assert (await ask(far, "GetMQTTconfig", {}, "t4"))["info"]["ResumefromBreakpoint"] == "0"
        await sim.command("face", person="p-1")
        record = (await seen(far, "RecPush"))["info"]
        assert record["time"].startswith("2031-05-06")
        await asyncio.sleep(0.6)
        assert far.count(lambda _, b: b.get("operator") == "RecPush") == 1, "without resume nothing is repeated"
        assert (await ask(far, "GetSceneSnap", {"ImgType": 2, "ImgQuality": 20}, "t5"))["code"] == "462"
        far.say(COMMAND, "{half")
        await sim.event("bad_command")
        assert (await ask(far, "Nonsense", {}, "t6"))["info"]["result"] == "fail"

    options = ("--repush", "0.2", "--utc-offset", "8")
    drive(work, broker, platform, *options, persons=[{"customId": "p-1"}], tmp_path=tmp_path)


@pytest.mark.parametrize("option", ["--codes=none", "--nonsense=1", "--persons=/no/such/file"])
def test_wrong_options_are_refused(broker, platform, option):
    async def work(_sim, _far):
        raise AssertionError("started")

    with pytest.raises(Exception, match="ended before"):
        drive(work, broker, platform, option)
