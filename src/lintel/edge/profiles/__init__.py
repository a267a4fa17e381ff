"""Firmware profiles: one TOML file per device model becomes one frozen `Profile`."""

from lintel.edge.profiles.loader import Profile, builtin, check_samples, find, load
from lintel.edge.profiles.samples import Meaning, Sample

__all__ = ["Meaning", "Profile", "Sample", "builtin", "check_samples", "find", "load"]
