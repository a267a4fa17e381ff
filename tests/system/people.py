"""Who lives on the tests' site, what stands at its doors, and the passes of its visitors."""

import time
from dataclasses import dataclass, field

from lintel.edge.model import Method, PersonKind
from lintel.edge.passes import Claims, issue
from lintel.edge.persons import Consent
from lintel.edge.store import CredentialPut

SITE = 0x00C0FFEE
SEED = bytes(range(32))
PUBLIC = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
GROUPS = ("public", "tower-a")
DOORS = ("gate", "back")
TERMINAL = {"gate": "1001", "back": "1002"}
RELAY = "shelly-gate"
LOCK = {"gate": RELAY, "back": TERMINAL["back"]}
PASSWORD = "CANARY-mqtt-password"


@dataclass
class Person:
    """Somebody on the allowlist; `code` is the opaque QR code, a canary that must turn up nowhere."""

    id: str
    code: str
    options: dict = field(default_factory=dict)
    face: bool = True


def person(name, **options):
    face = options.pop("face", True)
    return Person(name, f"CANARY-{name}-7f3a", options, face)


RESIDENTS = [person(f"res{n}") for n in range(40)]
"""Whose code is held before a reader twice within 1.5 s is one presentation, so there are several."""
RESIDENT = RESIDENTS[0]


def credentials(digest, who):
    options = {"kind": PersonKind.OWNER, "groups": ("public",), **who.options}
    kind, groups = options.pop("kind"), options.pop("groups")
    yield CredentialPut(digest(Method.QR, who.code), who.id, kind, Method.QR, groups, **options)
    if who.face:
        yield CredentialPut(
            digest(Method.FACE, who.id), who.id, kind, Method.FACE, groups, **({"consent": Consent.GRANTED} | options)
        )


def visitor(uses=0, start=-600, minutes=60, mask=1, pass_id=42, seed=SEED, site=SITE, key_id=7, flags=0):
    """The token of a static pass, times relative to now."""
    now = time.time()
    return issue(seed, site, Claims(1, flags, key_id, pass_id, int((now + start) // 60), minutes, mask, uses))
