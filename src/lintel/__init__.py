"""Lintel: an edge gateway for residential access control, and the property platform behind it."""

__version__ = "0.1.0"
