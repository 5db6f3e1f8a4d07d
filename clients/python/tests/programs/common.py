"""What the programs for fault tests share. `AGENTBUS_URL` and `AGENTBUS_KEY` name the server."""

import json
import signal
import sys
from typing import Any

FOREVER = float("inf")


def report(**members: Any) -> None:
    """Prints one line of JSON, whole, from whatever thread."""
    sys.stdout.write(json.dumps(members) + "\n")
    sys.stdout.flush()


def end_on_sigterm() -> None:
    """SIGTERM ends the program in order."""

    def end(_signal: int, _frame: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
