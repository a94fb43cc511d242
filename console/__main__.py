"""`python -m athanor.console` is `athanor`."""

from athanor.console.cli import main

main()
