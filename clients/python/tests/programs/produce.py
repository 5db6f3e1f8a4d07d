"""Sends messages with the contents 1, 2, … N, and prints {"n", "seq", "id", "duplicate"} for each acknowledgement."""

from __future__ import annotations

import argparse

from common import FOREVER, end_on_sigterm, report

from agentbus import Agentbus, Draft


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--sender", default="python")
    parser.add_argument("--batch", type=int, default=1, help="messages of a request")
    options = parser.parse_args()
    end_on_sigterm()
    with Agentbus(agent=options.sender, timeout=FOREVER) as bus:
        for first in range(1, options.count + 1, options.batch):
            numbers = range(first, min(options.count + 1, first + options.batch))
            send(bus, numbers, options.task)


def send(bus: Agentbus, numbers: range, task: str) -> None:
    if len(numbers) == 1:
        ack = bus.send("note", str(numbers[0]), task=task)
        report(n=numbers[0], seq=ack.seq, id=ack.id, duplicate=ack.duplicate)
        return
    drafts = [Draft("note", str(n), task=task) for n in numbers]
    for n, result in zip(numbers, bus.send_many(drafts), strict=True):
        if result.error is not None:
            raise SystemExit(f"message {n} is refused: {result.error}")
        report(n=n, seq=result.seq, id=result.id, duplicate=result.duplicate)


if __name__ == "__main__":
    main()
