"""Virtual hardware that speaks the real protocols, as processes of its own.

Written from the device protocol reference and public documents only; nothing here knows the gateway or its drivers.
`python -m lintel.simulators KIND ...` runs one device, `fleet` several in one process. Commands come as JSON lines on
stdin, events leave as JSON lines on stdout; times in events are `time.monotonic()` seconds, one clock for the box.
"""
