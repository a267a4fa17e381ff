"""A worker that lies, dies or hangs, as its last argument says: what a hostile picture might make of one."""

import os
import socket
import sys
import time

from lintel.edge import camera_wire as wire

mode = sys.argv[-1]
sock = socket.socket(fileno=0)
sock.recv(1 << 16)


def say(message):
    sock.sendall(wire.encode(message))


def raw(body):
    sock.sendall(len(body).to_bytes(4) + body)


if mode != "mute":
    say(wire.Opened())
match mode:
    case "noise":
        sock.sendall(os.urandom(4096))
    case "length":
        sock.sendall(b"\xff\xff\xff\xff" + bytes(100))
    case "json":
        raw(b'{"type":"seen","at":NaN,"codes":["QQ=="]}')
    case "deep":
        raw(b"[" * 8000)
    case "many":
        raw(b'{"type":"seen","at":1,"codes":[' + b",".join([b'"QQ=="'] * 17) + b"]}")
    case "long":
        raw(b'{"type":"seen","at":1,"codes":["' + b"QUFB" * 200 + b'"]}')
    case "backwards":
        say(wire.Start("file", "/etc/passwd"))
    case "exit":
        sys.exit(3)
    case "future":
        say(wire.Seen(time.monotonic() + 1e9, [b"FUTURE"]))
    case "flood":
        number = 0
        while True:
            number += 1
            say(wire.Seen(time.monotonic(), [b"N%d" % (number * 16 + n) for n in range(16)]))
    case "damage":
        while True:
            say(wire.Alive(1000))
time.sleep(60)
