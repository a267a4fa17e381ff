"""The command line's texts; see `lintel.edge.text`."""

from lintel.edge.text import chinese, told, tr

__all__ = ["chinese", "told", "tr"]
