"""What a card reader saw, in the one form that is digested: `bits:facility:number`, or `bits:HEX` where unknown.

Pure. A layout with parity that does not add up is a fault: a bad read, a cut or bridged wire.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lintel.edge.osdp.messages import RawCard

MAX_BITS: Final = 256
"""More bits than any card of a reader in the field; a longer one is refused."""

Span = tuple[int, int]
"""First bit, counted from 0 at the left, and how many."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where facility and number stand in a card of so many bits. A parity span includes its parity bit."""

    bits: int
    facility: Span
    number: Span
    even: Span | None = None
    odd: Span | None = None


LAYOUTS: Final[Mapping[int, Layout]] = {
    layout.bits: layout
    for layout in (
        Layout(26, (1, 8), (9, 16), (0, 13), (13, 13)),  # H10301
        Layout(34, (1, 16), (17, 16), (0, 17), (17, 17)),  # H10306
        Layout(37, (1, 16), (17, 19), (0, 19), (18, 19)),  # H10304
    )
}
"""The usual layouts, by number of bits."""


def identity(card: RawCard, layouts: Mapping[int, Layout] = LAYOUTS) -> str:
    """The card's value for the digest. Raises ValueError, quoting nothing, where a known layout's parity is wrong."""
    if card.bits > MAX_BITS:
        raise ValueError("a card with too many bits")
    value = int.from_bytes(card.data) >> (-card.bits % 8)
    layout = layouts.get(card.bits)
    if layout is None:
        return f"{card.bits}:{value:0{(card.bits + 3) // 4}X}"

    def part(span: Span) -> int:
        first, size = span
        return (value >> (card.bits - first - size)) & ((1 << size) - 1)

    if (layout.even and part(layout.even).bit_count() % 2) or (layout.odd and not part(layout.odd).bit_count() % 2):
        raise ValueError("a card whose parity is wrong")
    return f"{card.bits}:{part(layout.facility)}:{part(layout.number)}"
