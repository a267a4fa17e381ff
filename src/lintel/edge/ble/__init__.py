"""What Bluetooth locks speak, as bytes and frozen values. Sans-IO: no event loop, no clock, no randomness of its own.

One module for each protocol; the drivers bring the radio, the random numbers and the time.
"""
