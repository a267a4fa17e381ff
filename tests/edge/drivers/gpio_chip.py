"""A GPIO chip in memory whose requests behave like gpiod's: levels in volts, polarity, edges with numbers, a buffer.

What it takes and answers is made of gpiod's own values; `test_gpio.py` compares its signatures with the real classes.
"""

import errno
import os
import time

from gpiod import EdgeEvent
from gpiod.line import Bias, Direction, Edge, Value

RISING, FALLING = EdgeEvent.Type.RISING_EDGE.value, EdgeEvent.Type.FALLING_EDGE.value


class Chip:
    """`wire(at, high)` is the world outside; `high(at)` what a meter shows; `seen` every level an output ever had."""

    def __init__(self, lines=32, names=()):
        self.size, self.names = lines, dict(names)
        self.volts, self.seen = {}, []
        self.requests, self.busy = [], set()
        self.there, self.fault = True, None
        self.now = 0
        """The kernel's time of the next edges (ns); 0: the real one."""

    def request_lines(self, path, config, consumer=None, event_buffer_size=None, output_values=None):
        if not self.there:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        offsets = {line: self.offset(line) for line in config}
        if len(set(offsets.values())) < len(config):
            raise ValueError("line must be configured exactly once")
        mine = {at for r in self.requests for at in r.offsets} | self.busy
        if mine & set(offsets.values()):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        request = Request(self, {offsets[line]: s for line, s in config.items()}, list(config), event_buffer_size)
        self.requests.append(request)
        return request

    def offset(self, line):
        if isinstance(line, str):
            if line not in self.names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return self.names[line]
        if line >= self.size:
            raise ValueError("line offset of out range")
        return line

    def high(self, at):
        return self.volts.get(at, False)

    def put(self, at, high):
        self.volts[at] = high
        self.seen.append((at, high))

    def wire(self, at, high):
        if self.volts.get(at) != high:
            self.volts[at] = high
            for request in self.requests:
                request.edge(at)

    def unplug(self):
        self.there = False
        for request in self.requests:
            request.wake()

    def plug(self):
        self.there = True


class Request:
    def __init__(self, chip, settings, lines, size):
        self.chip, self.settings, self._lines, self.size = chip, settings, lines, size or 16 * len(settings)
        self._fd, self.events, self.number, self.numbers = os.eventfd(0), [], 0, dict.fromkeys(settings, 0)
        for at, s in settings.items():
            if s.direction is Direction.OUTPUT:
                chip.put(at, (s.output_value is Value.ACTIVE) != s.active_low)
            elif s.bias in (Bias.PULL_UP, Bias.PULL_DOWN):
                chip.volts.setdefault(at, s.bias is Bias.PULL_UP)

    def _check(self):
        assert self._fd is not None, "released"
        if not self.chip.there:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if self.chip.fault:
            raise OSError(self.chip.fault, os.strerror(self.chip.fault))

    def wake(self):
        if self._fd is not None:
            os.eventfd_write(self._fd, 1)

    def edge(self, at):
        s = self.settings.get(at)
        if s is None or s.direction is not Direction.INPUT or s.edge_detection is not Edge.BOTH:
            return
        self.number += 1
        self.numbers[at] += 1
        kind = RISING if self.chip.high(at) != s.active_low else FALLING
        self.events.append(EdgeEvent(kind, self.chip.now or time.monotonic_ns(), at, self.number, self.numbers[at]))
        del self.events[: -self.size]  # the kernel drops the oldest
        self.wake()

    # as gpiod.LineRequest

    @property
    def fd(self):
        assert self._fd is not None, "released"
        return self._fd

    @property
    def offsets(self):
        return list(self.settings)

    @property
    def lines(self):
        return self._lines

    def get_values(self, lines=None):
        self._check()
        offsets = [self.chip.offset(line) for line in lines or self._lines]
        high = [self.chip.high(at) != self.settings[at].active_low for at in offsets]
        return [Value.ACTIVE if h else Value.INACTIVE for h in high]

    def set_value(self, line, value):
        self._check()
        at = self.chip.offset(line)
        assert self.settings[at].direction is Direction.OUTPUT
        self.chip.put(at, (value is Value.ACTIVE) != self.settings[at].active_low)

    def read_edge_events(self, max_events=None):
        self._check()
        os.eventfd_read(self._fd)
        assert self.events, "the kernel would block here"
        events, self.events = self.events[:max_events], self.events[max_events or len(self.events) :]
        return events

    def release(self):
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self.chip.requests.remove(self)
