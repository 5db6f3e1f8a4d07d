"""Follows a stream and prints {"seq", "id"} for each message and {"gap": {"from", "to", "reason"}} for each gap.

Ends on SIGTERM, with --until-seq or after --count messages.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from common import FOREVER, end_on_sigterm, report

from agentbus import Agentbus, AsyncAgentbus, Event, Gap

FILTERS = ("subject", "kind", "type", "sender", "recipient", "task", "conversation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--async", dest="is_async", action="store_true")
    parser.add_argument("--from", dest="from_", help="start, now or a sequence")
    parser.add_argument("--since", type=int, help="resume after this sequence")
    parser.add_argument("--until-seq", type=int, default=FOREVER)
    parser.add_argument("--count", type=int, default=FOREVER)
    for name in FILTERS:
        parser.add_argument(f"--{name}", action="append")
    options = parser.parse_args()
    end_on_sigterm()
    if options.is_async:
        asyncio.run(follow_async(options))
    else:
        follow(options)


def start(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the stream."""
    filters = {name: getattr(options, name) for name in FILTERS if getattr(options, name)}
    from_ = int(options.from_) if (options.from_ or "").isdigit() else options.from_
    return {"from_": from_, "since": options.since, **filters}


class Progress:
    """Prints events, and knows when it was enough."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._until, self._left = options.until_seq, options.count

    def is_last(self, event: Event) -> bool:
        if isinstance(event, Gap):
            report(gap=event.model_dump(by_alias=True))
            return False
        report(seq=event.seq, id=event.id)
        self._left -= 1
        return bool(event.seq >= self._until or self._left <= 0)


def follow(options: argparse.Namespace) -> None:
    progress = Progress(options)
    with Agentbus(timeout=FOREVER) as bus, bus.stream(**start(options)) as stream:
        for event in stream:
            if progress.is_last(event):
                return


async def follow_async(options: argparse.Namespace) -> None:
    progress = Progress(options)
    async with AsyncAgentbus(timeout=FOREVER) as bus, bus.stream(**start(options)) as stream:
        async for event in stream:
            if progress.is_last(event):
                return


if __name__ == "__main__":
    main()
