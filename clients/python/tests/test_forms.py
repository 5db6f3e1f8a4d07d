"""The two forms of the client have the same methods."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from agentbus import Agentbus, AsyncAgentbus, AsyncInbox, AsyncStream, AsyncWorker, Inbox, Stream, Worker

PAIRS = [(Agentbus, AsyncAgentbus), (Stream, AsyncStream), (Inbox, AsyncInbox), (Worker, AsyncWorker)]


def methods(kind: type[Any]) -> dict[str, Any]:
    return {name: each for name, each in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS, ids=lambda kind: kind.__name__)
def test_the_same_methods_with_the_same_arguments_and_docs(blocking: type[Any], asynchronous: type[Any]) -> None:
    assert methods(blocking).keys() == methods(asynchronous).keys()
    for name, method in methods(blocking).items():
        other = methods(asynchronous)[name]
        assert method.__doc__, f"{name} has no docs"
        if callable(method):
            assert inspect.signature(method).parameters == inspect.signature(other).parameters, name
            assert other.__doc__, f"{name} of {asynchronous.__name__} has no docs"


def test_the_same_arguments_to_make_one() -> None:
    assert inspect.signature(Agentbus).parameters == inspect.signature(AsyncAgentbus).parameters
