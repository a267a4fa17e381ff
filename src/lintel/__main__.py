"""`python -m lintel`, the same as the `lintel` command."""

from lintel.edge.cli import main

main()
