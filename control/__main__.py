"""The programs that roles run on the control node: `python control PROGRAM ARGUMENTS`."""

import sys

from pergola_control.cli import main

main(sys.argv[1:])
