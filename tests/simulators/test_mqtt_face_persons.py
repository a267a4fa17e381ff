"""The list of persons of the `mqtt/face` terminal, driven by paho: batches, limits, photos, questions."""

import contextlib
import http.server
import threading

from .face_platform import COMMAND, ID, PHOTO, ask, batch, drive, inline, jpeg, seen


def test_vector_one_and_its_error(broker, platform):
    people = [
        {
            "customId": "p-1001",
            "name": "Test One",
            "personType": 0,
            "tempValid": 1,
            "validBegin": "2026-01-01 00:00:00",
            "validEnd": "2026-12-31 23:59:59",
            "effectNumber": 10000,
            "isCheckSimilarity": 1,
            "picURI": "https://192.0.2.10:8443/f/p-1001",
        }
    ]

    async def work(sim, far):
        await sim.command("fault", person_errors={"p-1001": "468"})
        got = await ask(far, "EditPersonsNew", people, "b7-0001", **batch(people))
        assert got == {
            "messageId": "b7-0001",
            "operator": "EditPersonsNew-Ack",
            "code": "200",
            "info": {
                "facesluiceId": ID,
                "AddErrNum": "1",
                "AddSucNum": "0",
                "AddErrInfo": [{"customId": "p-1001", "errcode": "468"}],
                "AddSucInfo": [],
                "result": "ok",
            },
        }
        await sim.command("fault", clear=True)
        got = await ask(far, "EditPersonsNew", people, "b7-0002", **batch(people))
        assert (got["info"]["AddSucNum"], got["info"]["AddSucInfo"]) == ("1", [{"customId": "p-1001"}])

    drive(work, broker, platform, "--fetch-photos", "false")


def test_limits_of_a_batch(broker, platform):
    people = [{"customId": "a", "pic": PHOTO}, {"customId": "b", "pic": inline(jpeg(200))}]

    async def work(sim, far):
        async def code(number, **changes):
            got = await ask(far, "EditPersonsNew", people, f"m{number}", **batch(people, **changes))
            assert got["info"]["result"] == "fail"
            return got["code"]

        assert await code(1, PersonNum=3) == "417"
        assert await code(2, DataBegin="x") == "412"
        assert await code(3, DataEnd=None) == "413"
        assert await code(4, PersonNum=1001) == "416"
        assert (await sim.command("persons"))["count"] == 0
        far.say(COMMAND, {"messageId": "s1", "operator": "EditPersonsNew", "info": people} | batch(people))
        second = await ask(far, "EditPersonsNew", people, "s2", **batch(people))
        assert second["code"] == "410", "one batch at a time"
        single = await ask(far, "DelPerson", {"customId": "a"}, "s3")
        assert single["code"] == "410"
        progress = await ask(far, "QueryProgress", {}, "s4")
        assert progress["info"]["Status"] == "3"
        first = await seen(far, "EditPersonsNew-Ack", messageId="s1")
        assert first["info"]["AddSucNum"] == "2"
        again = await ask(far, "AddPersons", people, "s5", **batch(people))
        assert again["info"]["AddErrNum"] == "2", "AddPersons does not change whom it knows"
        assert "code" not in again
        gone = await ask(far, "DeletePersons", {"customId": ["a", "x"]}, "s6", **batch(["a", "x"]))
        assert (gone["info"]["DelSucNum"], gone["info"]["DelErrNum"]) == ("1", "1")
        many = [str(n) for n in range(201)]
        assert (await ask(far, "DeletePersons", {"customId": many}, "s7", **batch(many)))["code"] == "416"

    drive(work, broker, platform, "--batch-seconds", "0.2")


_FILES = {
    "/good": jpeg(120),
    "/empty": b"",
    "/text": b"no picture",
    "/huge": b"x" * 1_000_001,
    "/wide": jpeg(5, (2000, 40)),
}


class _Photos(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = _FILES.get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


def test_photos_are_fetched_and_judged(broker, platform):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Photos)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    cases = {
        "": "461",
        "nophoto": "463",
        "host": "464",
        "down": "465",
        "empty": "466",
        "huge": "467",
        "wide": "467",
        "text": "468",
        "x" * 49: "462",
    }
    uris = {"host": "http://no-such-host.invalid/x", "down": f"{base}/missing", "nophoto": ""}
    people = [{"customId": c, "picURI": uris.get(c, f"{base}/{c}")} for c in cases]
    people += [{"customId": "ok", "picURI": f"{base}/good"}]
    people += [
        {"customId": "twin", "isCheckSimilarity": 1, "pic": inline(jpeg(120))},
        {"customId": "full", "pic": PHOTO},
    ]

    async def work(sim, far):
        got = await ask(far, "EditPersonsNew", people, "p1", **batch(people))
        errors = {e["customId"]: e["errcode"] for e in got["info"]["AddErrInfo"]}
        assert errors == cases | {"twin": "478"}
        assert got["info"]["AddSucInfo"] == [{"customId": "ok"}, {"customId": "full"}]
        third = [{"customId": "third", "pic": PHOTO}]
        got = await ask(far, "EditPersonsNew", third, "p2", **batch(third))
        assert got["info"]["AddErrInfo"] == [{"customId": "third", "errcode": "474"}]
        single = await ask(far, "EditPerson", {"customId": "new", "pic": PHOTO[:60] + "!"}, "p3")
        assert single["code"] == "474"
        await ask(far, "DelPerson", {"customId": "full"}, "p4")
        single = await ask(far, "EditPerson", {"customId": "new"}, "p5")
        assert single["code"] == "472", "the general table has another number for no photo"
        keep = await ask(far, "EditPerson", {"customId": "ok", "name": "Renamed"}, "p6")
        assert (keep["code"], keep["info"]["result"]) == ("200", "ok"), "a change without photo keeps the photo"
        assert (await sim.command("person", person="ok"))["person"]["name"] == "Renamed"

    try:
        drive(work, broker, platform, "--batch-seconds", "0", "--capacity", "2")
    finally:
        server.shutdown()
        server.server_close()


def test_questions_about_persons(broker, platform, tmp_path):
    people = [{"customId": f"p-{n}", "name": f"N{n}", "gender": n % 2} for n in range(5)] + [{"name": "At the device"}]

    async def work(sim, far):
        got = await ask(far, "QueryPerson", {}, "q1")
        assert got["info"]["customId"] == "p-0,p-1,p-2,p-3,p-4"
        assert (got["info"]["totalPersonNum"], got["info"]["queryPersonNum"]) == ("6", "5")
        got = await ask(far, "SearchPerson", {"customId": "p-3", "Picture": 1}, "q2")
        assert got["info"]["name"] == "N3"
        assert got["pic"].startswith("data:image/jpeg;base64,")
        page = {"gender": 2, "BeginNO": 1, "RequestCount": 2}
        got = await ask(far, "SearchPersonList", page, "q3")
        assert [p["customId"] for p in got["info"]["List"]] == ["p-1", "p-2"]
        assert (await ask(far, "SearchPersonList", page | {"RequestCount": 2001}, "q4"))["code"] == "462"
        assert (await ask(far, "DeleteAllPerson", {"deleteall": "1"}, "q5"))["code"] == "200"
        await sim.event("rebooting")
        assert (await sim.command("persons"))["count"] == 0

    drive(work, broker, platform, persons=people, tmp_path=tmp_path)
