"""Streams through failures of the server."""

import threading

from agentbus import Agentbus, Message
from agentbus.testing import Server


def test_a_stream_resumes_through_kills_without_a_loss_or_repeat(agentbus_server: Server, agentbus: Agentbus) -> None:
    count = 400
    seen: list[str] = []

    def consume() -> None:
        with Agentbus(agentbus_server.url, key="") as bus, bus.stream(since="start", sender="ann") as stream:
            for event in stream:
                assert isinstance(event, Message)
                seen.append(event.content)
                if len(seen) == count:
                    return

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    for number in range(count):
        agentbus.send("note", str(number), sender="ann")
        if number % 100 == 50:
            agentbus_server.kill()
            agentbus_server.start()
    consumer.join(30)
    assert seen == [str(number) for number in range(count)]
