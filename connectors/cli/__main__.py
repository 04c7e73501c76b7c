"""`python -m connectors.cli` is `vitals`."""

from connectors.cli import main

main()
