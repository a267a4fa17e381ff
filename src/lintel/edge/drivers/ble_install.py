"""The install window of one lock: only while it is open may keys be made and the lock be paired."""

import math
from collections.abc import Callable
from typing import Final

from lintel.edge.ble.words import KeyRefused, NotYet, WrongLock
from lintel.edge.drivers.base import Keys
from lintel.edge.drivers.ble_link import Gone
from lintel.edge.drivers.ble_session import TRIES_S, Session
from lintel.edge.drivers.ble_talk import Dialect, Own
from lintel.edge.errors import BadFrame, Refused, StoreError
from lintel.edge.model import Fact, Notice

LONGEST_S: Final = 600.0
AGAIN_S: Final = 5.0
"""Between two attempts (s): the button at the lock may not be pressed yet."""
REFUSED_S: Final = 15.0
"""After a refusal (s): locks shut themselves after five in a minute."""


class Window:
    """Armed for a time with a secret, which it forgets when it closes."""

    def __init__(self, device: str, dialect: Dialect, own: Own, keys: Keys, report: Callable[[Fact], None]) -> None:
        self.until = self.again = -math.inf
        self._device, self._dialect, self._own, self._keys, self._report = device, dialect, own, keys, report
        self._secret: bytes | None = None
        self._why = "the lock was not heard"

    def arm(self, now: float, seconds: float, secret: bytes) -> None:
        """Open it, for at most ten minutes. One that is open already begins anew."""
        self.until, self.again = now + min(max(seconds, 0.0), LONGEST_S), now
        self._secret, self._why = secret, "the lock was not heard"

    def armed(self, now: float) -> bool:
        """Whether it is open; when its time is over without success that is told, once."""
        if self._secret is not None and now >= self.until:
            self._close(f"not paired: {self._why}")
        return self._secret is not None

    def _close(self, why: str) -> None:
        self._secret, self.until = None, -math.inf
        if why:
            self._report(Fact(Notice.DEVICE_FAULT, self._device, why))

    async def pair(self, session: Session) -> bool:
        """One attempt. Our key is kept before the lock learns it, and the lock's before it is used."""
        now, secret = self._own.now().mono, self._secret
        if secret is None:
            return False
        try:
            if first := self._dialect.first_keys(self._own):
                await self._keys.put(self._device, first)
            link = await session.dial(min(self.until, now + TRIES_S), urgent=True)
            await self._keys.put(self._device, await self._dialect.pair(link, self._own, secret))
        except StoreError as error:
            self._close(f"not paired: {error.word}")
            return False
        except (WrongLock, KeyRefused) as error:  # one of both does not know the secret
            self._close(f"not paired: {error}")
            return False
        except (Gone, BadFrame, Refused) as error:
            self._why = str(error)
            self.again = self._own.now().mono + (
                REFUSED_S if isinstance(error, Refused) and not isinstance(error, NotYet) else AGAIN_S
            )
            return False
        finally:
            await session.close()
        self._close("")
        session.rearm()
        self._report(Fact(Notice.KEY_SET, self._device, "paired"))
        return True
