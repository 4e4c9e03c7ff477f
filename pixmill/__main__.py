"""`python -m pixmill`: the command line."""

from pixmill.cli import main

main()
