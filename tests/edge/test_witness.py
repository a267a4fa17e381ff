"""Which word a rotating pass gets when it can not be used: a copy of a code is told from a second visit."""

import asyncio

from lintel.edge.model import Method
from lintel.edge.passes import STEP_S, rotating
from lintel.edge.store import PassPut

from .rig import T0, Rig


def test_a_copy_of_the_code_that_took_the_only_use_is_replayed_and_the_next_code_already_used(tmp_path):
    async def main():
        secret = bytes(range(32, 64))
        async with Rig(tmp_path) as rig:
            put = PassPut(9, ("public",), secret=secret, use_limit=1)
            await rig.store.allowlist.apply_checkpoint([put], epoch=1, seq=1, synced_at=T0)
            code = rotating(secret, 9, T0)
            words = [await rig.present(code, method=Method.PASS) for _ in range(2)]
            rig.time.move(STEP_S)
            words.append(await rig.present(rotating(secret, 9, T0 + STEP_S), method=Method.PASS))
            assert words == ["granted", "replayed", "already_used"]
            assert [e.person for e in rig.decisions()] == [""] * 3
            assert [e.credential for e in rig.decisions()] == ["vp_9"] * 3, "the row says whose code it was"

    asyncio.run(main())
