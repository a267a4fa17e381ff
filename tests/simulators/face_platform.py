"""A platform that asks a simulated `mqtt/face` terminal, by paho."""

import asyncio
import base64
import io
import json

from PIL import Image

from lintel.simulators.client import Simulator

ID = "1026700"
COMMAND = f"mqtt/face/{ID}"


def jpeg(shade, size=(16, 16)):
    out = io.BytesIO()
    Image.new("L", size, shade).save(out, "JPEG")
    return out.getvalue()


def inline(photo):
    return "data:image/jpeg;base64," + base64.b64encode(photo).decode()


PHOTO = inline(jpeg(90))


def drive(work, broker, platform, *options, persons=None, tmp_path=None):
    arguments = ["face-terminal", "--dialect", "mqtt-face", "--id", ID, "--broker", broker, "--retry", "0.1", *options]
    if persons is not None:
        (tmp_path / "persons.json").write_text(json.dumps(persons))
        arguments += ["--persons", str(tmp_path / "persons.json")]

    async def run():
        far = platform(f"{COMMAND}/#", "mqtt/face/basic", "mqtt/face/heartbeat")
        async with asyncio.timeout(25), Simulator(*arguments) as sim:
            await work(sim, far)

    asyncio.run(run())


async def ask(far, operator, info, message_id, **top):
    far.say(COMMAND, {"messageId": message_id, "operator": operator, "info": info} | top)
    return await asyncio.to_thread(far.operator, f"{operator}-Ack", messageId=message_id)


def batch(people, **changes):
    return {"DataBegin": "BeginFlag", "PersonNum": len(people), "DataEnd": "EndFlag"} | changes


async def seen(far, operator, within=5.0, **fields):
    return await asyncio.to_thread(lambda: far.operator(operator, within, **fields))
