"""A whole gateway box as a User-Mode Linux guest: systemd, a real Bluetooth stack, GPIO lines; see `machine.py`."""
