"""Shell. `python -m mrproxy` is the command line; the supervisor starts its children through it."""

from mrproxy.cli import main

main(prog_name="mrproxy")
