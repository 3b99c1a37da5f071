"""`python -m semscale`: the command, where its script is not on the path."""

import sys

from semscale.cli import run

if __name__ == "__main__":
    sys.exit(run())
