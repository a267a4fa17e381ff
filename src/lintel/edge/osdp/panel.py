"""One reader on the bus, as its panel sees it. Sans-IO: packets and monotonic seconds in, frames and events out.

    ABSENT --ID--> CAPS --CAP--> CHALLENGE --CHLNG--> CRYPT --SCRYPT--> SECURE     with a key, or in an install window
                        `------> CLEAR                                             without one: nothing is trusted,
                                                                                   unless the model has no channel
    silence: the same frame again, three times, then ABSENT; a lie: dropped, after three in a row ABSENT and muted

A provisioned reader is never spoken to in the clear beyond ID, CAP and CHLNG, whatever it says it can. Only a person
who arms the install window makes the panel use the default key, and only there a key is set.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from lintel.edge.errors import BadFrame
from lintel.edge.model import Notice, Outcome
from lintel.edge.osdp.backlog import Backlog, Presented
from lintel.edge.osdp.events import Distrusted, Down, Event, Heard, Job, KeyProven, KeyUnused, KeyWanted, Told, Up
from lintel.edge.osdp.exchange import AGAIN_S, PERIOD_S, PROBE_S, Exchange, Sent
from lintel.edge.osdp.frames import Packet, encode
from lintel.edge.osdp.keyring import Keyring, Which
from lintel.edge.osdp.meeting import Meeting, Refusal, State
from lintel.edge.osdp.messages import Capabilities, Code, Command, Error, Identity, Nak, Plain, Reply, keyset, parse
from lintel.edge.osdp.orders import Orders
from lintel.edge.osdp.trust import GONE, PRESENTATIONS, Lie, Other, Trust

_FOREVER: Final = float("inf")


class Peripheral:
    """One reader. `required`: a channel must be secure to be trusted; False only for a model that has none.

    `questions` are asked once whenever the reader comes up. `random` gives unpredictable bytes, `jitter` 0 to 1.
    While `hold` is set, what it reads can not be taken: it is asked for its status instead, and keeps its events.
    """

    def __init__(
        self,
        address: int,
        keyring: Keyring,
        random: Callable[[int], bytes],
        jitter: Callable[[], float],
        *,
        required: bool = True,
        questions: tuple[int, ...] = (Command.LSTAT,),
    ) -> None:
        self.address, self.keyring, self.required = address, keyring, required
        self.state = State.ABSENT
        self.hold = False
        self.usable = False
        """Whether it may be believed and told to open."""
        self.events: deque[Event] = deque()
        self.exchange = Exchange()
        self._jitter, self._questions = jitter, questions
        self._meeting = Meeting(keyring, random, required=required)
        self._trust = Trust()
        self._at = self._next_at = 0.0
        self._orders = Orders()
        self._asks: deque[Job] = deque()
        self._backlog = Backlog()
        self._told_closed = self._spoke = self._key_asked = False

    # what the bus asks

    @property
    def present(self) -> bool:
        """Whether it answers at all."""
        return self.state is not State.ABSENT

    @property
    def fresh(self) -> bool:
        """Whether what it says next is of now: it was polled, and had nothing kept."""
        return self.usable and self._backlog.empty

    @property
    def urgent(self) -> bool:
        """Whether an order waits that can leave now."""
        return bool(self._orders) and self.usable and self.exchange.sent is None

    @property
    def due(self) -> float:
        """When it wants the line (monotonic seconds)."""
        waiting = self.exchange.sent is not None and self.state is not State.ABSENT
        return self.exchange.retry_at if waiting else self._next_at

    @property
    def window(self) -> float:
        """How long to wait for the first byte of the answer to what was sent last, from its end (s)."""
        return self.exchange.window(present=self.present)

    def frame(self, now: float) -> bytes:
        """What to send now: the next command, or the last one again, byte by byte the same."""
        sent = self.exchange.sent
        if sent is not None and sent.job is not None and now >= sent.job.deadline:
            self._restart(now, 0.0, "an order was not answered")
        if self._interim and not (sent or self.keyring.armed(now)):
            self._told(Notice.INSTALL_WINDOW_CLOSED, "the window closed before a key was set")
            self._restart(now, 0.0, "install window closed")
        self._at = now
        if self.exchange.sent is None or self.state is State.ABSENT:
            return self._compose(now)
        self.exchange.sent.tries += 1
        return self.exchange.sent.frame

    def missed(self, now: float) -> None:
        """No answer came in time. A late one is still taken until the command is given up."""
        if self.exchange.sent is None:
            return  # it was answered, or given up meanwhile
        if self.state is State.ABSENT:
            self.exchange.probes += 1
            self._orders.flush()
            self._next_at = now + PROBE_S * (0.8 + 0.4 * self._jitter())
        elif not self.exchange.wait(now):
            if self._spoke:
                self._restart(now, self._trust.wait(PROBE_S), "it answers something else")
            else:
                self._trust.forgive()
                self._restart(now, PROBE_S * self._jitter(), "no answer")

    # what the owner asks

    def submit(self, job: Job, now: float) -> None:
        """Take an order on. It leaves at the next turn of the line, before any poll, or is finished as NOT_SENT."""
        if self.usable or self.state in (State.CAPS, State.CHALLENGE, State.CRYPT):
            self._orders.add(job, now)
        else:
            job.finish(Outcome.ORDER_EXPIRED if now >= job.deadline else Outcome.NOT_SENT)

    def expire(self, now: float) -> None:
        """Finish the orders whose time is over. They never left."""
        if self._orders:
            self._orders.expire(now)

    def arm(self, now: float, seconds: float) -> None:
        """A person opened the install window: meet the reader at once, with the default key if its own do not fit."""
        self.keyring.arm(now, seconds)
        self._told_closed = False
        self._trust.forgive()
        self._meeting.first_key()
        if self.state is not State.SECURE:
            self._restart(now, 0.0, "install window")
        elif not self._interim:
            self._want_key()

    def install(self, key: bytes | None, now: float) -> None:
        """Set a key that is stored already; None: it could not be stored, and nothing is sent."""
        self._key_asked = False
        if key is not None and self.state is State.SECURE and self.keyring.armed(now):
            self.keyring.fresh, self.keyring.delivered = key, False
            self._asks.appendleft(Job(Command.KEYSET, keyset(key), _FOREVER))
            return
        if key is not None:
            self.events.append(KeyUnused())
            if self.keyring.armed(now):
                return  # the reader went meanwhile: when it is met again, a key is wanted again
            self._told(Notice.INSTALL_WINDOW_CLOSED, "the window closed before a key was set")
        self.keyring.close()
        if self._interim:
            self._restart(now, 0.0, "no key was set")

    def gone(self, now: float) -> None:
        """The line broke: what was on it has an unknown outcome, what was not is not sent."""
        self._restart(now, 0.0, "line lost")
        self._orders.flush()
        self._key_asked = False  # who was asked has ended with the line

    # commands

    @property
    def _interim(self) -> bool:
        """Whether the channel stands on the default key: good for nothing but a new key."""
        return self.state is State.SECURE and self._meeting.which is Which.DEFAULT

    def _compose(self, now: float) -> bytes:
        self._spoke = False
        if self.state in (State.CLEAR, State.SECURE):
            return self._command(now)
        if self.state is State.ABSENT:
            self.exchange.reset()
        command = self._meeting.command(self.state, now)
        if command is None:
            self._restart(now, 0.0, "install window closed")
            return self._compose(now)
        code, data, scb = command
        return self.exchange.send(code, None, lambda n: encode(self.address, n, code, data, scb)).frame

    def _command(self, now: float) -> bytes:
        """An order, a question or a poll, in this order."""
        job = self._orders.take(now) if self._orders and self.usable else None
        if job is None and self._asks:
            job = self._asks.popleft()
        code, data = (job.code, job.data) if job else (Command.LSTAT if self.hold else Command.POLL, b"")
        session = self._meeting.session
        if session is not None:
            return self.exchange.send(code, job, lambda n: session.seal(self.address, n, code, data)).frame
        return self.exchange.send(code, job, lambda n: encode(self.address, n, code, data)).frame

    # answers

    def heard(self, packet: Packet, now: float) -> bool:
        """Take a packet with this reader's address. Whether it answers what was sent last, so that the line is free."""
        sent = self.exchange.sent
        if packet.code == Code.BUSY and not (packet.sequence or packet.scb or packet.data):
            if sent is None:
                return False
            if not self.exchange.busy(now):
                self._restart(now, PROBE_S, "busy for too long")
            self._next_at = max(self._next_at, self.exchange.retry_at)
            return True
        return self._heard_secure(packet, now) if self.state is State.SECURE else self._heard_clear(packet, now)

    def _heard_clear(self, packet: Packet, now: float) -> bool:
        sent = self.exchange.sent
        if sent is None or packet.sequence != sent.sequence:
            self._spoke = True
            return False
        if packet.scb and packet.block != {State.CHALLENGE: 0x12, State.CRYPT: 0x14}.get(self.state):
            return False
        reply = self._parse(packet.code, packet.data)
        if self.state is State.CLEAR and isinstance(reply, Nak) and reply.error == Error.CHECK:
            self._spoke = True
            return False  # our command was garbled on the way, and is repeated
        self.exchange.sent = None
        self._next_at = now
        if self.state is State.CLEAR:
            self._say(reply, sent, now)
        else:
            if packet.code in PRESENTATIONS:
                self.events.append(Distrusted())
            elif isinstance(reply, Identity | Capabilities):
                self.events.append(Heard(reply, trusted=False))
            self._step(self._meeting.take(self.state, packet, reply, now), now)
        return True

    def _heard_secure(self, packet: Packet, now: float) -> bool:
        sent = self.exchange.sent
        found = self._trust.judge(packet, sent, self._meeting.session, now)
        if isinstance(found, bytes) and sent is not None:
            self.exchange.sent = None
            self._say(self._parse(packet.code, found), sent, now)
            return True
        if isinstance(found, Lie):
            if found.presented:
                self.events.append(Distrusted())
            self._told(found.notice)
            if self._trust.strike():
                self._restart(now, self._trust.wait(PROBE_S), str(found.notice))
        elif found is Other.NO_SESSION:
            self._restart(now, self._trust.wait(0.0), "the reader has no session")
            return True
        return False

    def _parse(self, code: int, data: bytes) -> Reply:
        try:
            return parse(code, data)
        except BadFrame as error:
            self._told(Notice.FRAME_ERROR, str(error))
            return Plain(code)

    def _say(self, reply: Reply, sent: Sent, now: float) -> None:
        """Pass a reply on, finish its order, plan the next turn."""
        self._next_at = self._at + PERIOD_S
        nothing = isinstance(reply, Plain) and reply.code == Code.ACK
        polled = sent.code == Command.POLL and not isinstance(reply, Nak)
        kept = float("inf") if isinstance(reply, Presented) else 0.0  # outside a poll's answer nobody knows how long
        age = self._backlog.answered(now, nothing=nothing) if polled else kept
        outcome = sent.outcome(reply, sealed=self.state is State.SECURE)
        if sent.job is not None:
            sent.job.finish(outcome)
        if sent.code == Command.KEYSET:
            self._key_set(outcome, now)
        elif isinstance(reply, Nak) and reply.error in GONE and reply.error != Error.CHANNEL:
            self._restart(now, self._trust.wait(0.0 if self.usable else PROBE_S), "the reader wants another start")
        elif not nothing:
            self.events.append(Heard(reply, self.usable, age))

    def _key_set(self, outcome: Outcome, now: float) -> None:
        self.keyring.close()
        refused = outcome is Outcome.REFUSED_BY_DEVICE
        if refused:
            self._told(Notice.DEVICE_FAULT, "the reader refused the new key")
            self.keyring.fresh = None
            self.events.append(KeyUnused())
        self.keyring.delivered = outcome is Outcome.EXECUTED
        if self._interim or not refused:
            self._restart(now, 0.0, "a key was set")

    # from state to state

    def _step(self, step: State | Refusal, now: float) -> None:
        if isinstance(step, Refusal):
            if step.notice is not None:
                self._told(step.notice, step.detail)
            another_key = step.soon and step.notice is None
            wait = AGAIN_S if another_key else PROBE_S if step.soon else self._trust.wait(PROBE_S)
            self._restart(now, wait, step.detail)
            return
        self.state = step
        if step is State.CLEAR:
            self._ready(trusted=not self.required)
            if self.required and not self._told_closed:
                self._told_closed = True
                self._told(Notice.INSTALL_WINDOW_CLOSED, "the reader has no key: open its install window")
        elif step is State.SECURE:
            self._trust.begin(now)
            if self._meeting.which is Which.FRESH:
                self.keyring.prove()
                self.keyring.close()
                self.events.append(KeyProven())
                self._told(Notice.KEY_SET)
            self._ready(trusted=not self._interim)
            if self.keyring.armed(now):
                self._want_key()

    def _want_key(self) -> None:
        """Ask for a key, unless one is made or on its way already: of two, the wrong one might be kept."""
        sent = self.exchange.sent
        leaving = sent is not None and sent.code == Command.KEYSET
        if not (self._key_asked or leaving or any(job.code == Command.KEYSET for job in self._asks)):
            self._key_asked = True
            self.events.append(KeyWanted())

    def _ready(self, *, trusted: bool) -> None:
        self._asks.extend(Job(question, b"", _FOREVER) for question in self._questions)
        self.usable = trusted
        if trusted:
            self.events.append(Up(secure=self.state is State.SECURE))
        else:
            self._orders.flush()

    def _restart(self, now: float, wait: float, why: str) -> None:
        """Forget the session and begin with sequence 0, `wait` seconds from now."""
        sent, usable = self.exchange.sent, self.usable
        self.state, self.usable = State.ABSENT, False
        self.exchange.reset()
        self._meeting.begin()
        self._asks.clear()
        self._next_at = now + wait
        if sent is not None and sent.job is not None:
            sent.job.finish(Outcome.UNKNOWN_OUTCOME)
        if wait:
            self._orders.flush()
        if usable:
            self.events.append(Down(why))

    def _told(self, notice: Notice, detail: str = "") -> None:
        self.events.append(Told(notice, detail))
