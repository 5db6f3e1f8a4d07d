"""The tour of the README with a client that openapi-python-client made: publish, repeat, read history."""

import sys

from generated import Client
from generated.api.messages import publish, read_history
from generated.models import Kind, NewMessage, Receipt

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
message = NewMessage(
    kind=Kind.MESSAGE, type_="question", sender_id="ann", recipient_id="bob", content="Which port?"
)
receipt = publish.sync(client=client, body=message)
assert isinstance(receipt, Receipt), receipt
assert receipt.seq >= 1 and not receipt.duplicate

task = NewMessage(kind=Kind.TASK, type_="started", sender_id="bob", task_id="parser-7")
once = publish.sync(client=client, body=task, idempotency_key="parser-7-start")
again = publish.sync(client=client, body=task, idempotency_key="parser-7-start")
assert once.seq == again.seq and again.duplicate, (once, again)

page = read_history.sync(client=client, sender=["ann"], limit=10)
assert [kept.content for kept in page.messages] == ["Which port?"], page
