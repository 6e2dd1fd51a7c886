"""`painters ...`: the rooms composed for the command line, and nothing else.

Heavy libraries are imported inside the commands, so that help answers at once; the commands
themselves are imported where an interruption is already caught.
"""

import signal
import sys


def main() -> None:
    """Run the command line: a user's error is one line on stderr and exit code 2."""
    try:
        # Whoever ends it, as batch systems do, interrupts it: what is half-written is cleared away.
        signal.signal(signal.SIGTERM, signal.default_int_handler)

        from .application import answer

        status = answer(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
        print("painters: interrupted", file=sys.stderr)
    sys.exit(status)
