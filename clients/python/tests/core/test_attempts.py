"""Whether and when a call is repeated."""

from __future__ import annotations

import ssl

import pytest

from agentbus import ApiError, ConnectionFailed, LeaseLost, NoReply, Unavailable
from agentbus._core import http
from agentbus._core.attempts import Attempts
from agentbus._core.backoff import Backoff
from agentbus._core.batches import Batch, split
from agentbus._core.calls import queues
from agentbus._core.ids import uuid7
from agentbus._core.limits import BATCH_BYTES
from agentbus._core.question import Question
from agentbus._core.request import Answer, Call, Request, nothing
from agentbus._core.settings import Settings, is_other_major
from agentbus._models.message import Result
from agentbus.content import Contents

GONE = Answer(410, {}, b'{"code":"lease_lost"}')


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def attempts(
    *, safe: bool = True, holds: float = 0, timeout: float | None = 30, clock: Clock | None = None
) -> Attempts:
    call = Call(Request("POST", "/v1/x"), nothing, safe=safe, holds=holds)
    return Attempts(call, timeout, clock=clock or Clock(), backoff=Backoff(1.0, lambda: 0.5))


def test_a_safe_call_is_repeated_with_growing_waits() -> None:
    tries = attempts()
    assert [tries.failed("cut", sent=True) for _ in range(3)] == [0.5, 1, 2]
    assert tries.answered(Answer(502)) == 4
    assert tries.answered(Answer(200)) is None


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_transient_answers(status: int) -> None:
    assert attempts().answered(Answer(status, {"retry-after": "3"})) == 3
    with pytest.raises(ApiError):
        attempts(safe=False).answered(Answer(status))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 410, 422, 500])
def test_final_answers(status: int) -> None:
    with pytest.raises(ApiError) as caught:
        attempts().answered(Answer(status))
    assert caught.value.status == status


def test_no_reply_is_an_answer() -> None:
    with pytest.raises(NoReply):
        attempts().answered(Answer(504, {}, b'{"code":"no_reply","id":"x","seq":1}'))


def test_the_time_is_for_all_attempts() -> None:
    clock = Clock()
    tries = attempts(clock=clock, timeout=20)
    assert tries.timeout() == 15
    clock.now += 15
    tries.failed("silent", sent=True)
    assert tries.timeout() == 5
    clock.now += 4.5
    with pytest.raises(Unavailable):
        tries.answered(Answer(503))


def test_what_the_server_holds_open_is_added() -> None:
    assert attempts(holds=60).timeout() == 75
    assert attempts(holds=60, safe=False).timeout() == 90


def test_without_a_limit_it_goes_on() -> None:
    tries = attempts(timeout=None)
    assert max(tries.failed("cut", sent=False) for _ in range(1000)) == 15


def test_a_lost_lease_counts_as_done_only_after_a_lost_answer() -> None:
    with pytest.raises(LeaseLost):
        Attempts(queues.ack("t"), 30).answered(GONE)
    for sent in (True, False):
        tries = Attempts(queues.ack("t"), 30)
        tries.failed("cut", sent=sent)
        if sent:
            assert tries.answered(GONE) is None
        else:
            with pytest.raises(LeaseLost):
                tries.answered(GONE)
    tries = Attempts(queues.nack("t", None, None), 30)
    tries.failed("cut", sent=True)
    with pytest.raises(LeaseLost):
        tries.answered(GONE)


def test_a_call_that_is_not_safe_is_not_repeated() -> None:
    with pytest.raises(ConnectionFailed):
        attempts(safe=False).failed("cut", sent=True)


def test_retry_after_is_seconds_or_a_date() -> None:
    date = {"date": "Mon, 30 Nov 2026 10:00:00 GMT"}
    assert Answer(503, {"retry-after": "5"}).error().retry_after == 5
    assert Answer(503, {**date, "retry-after": "Mon, 30 Nov 2026 10:00:09 GMT"}).error().retry_after == 9
    assert Answer(503, {**date, "retry-after": "soon"}).error().retry_after is None


def test_batches_are_split_by_items_and_bytes() -> None:
    assert [len(lines) for lines in split({"n": n} for n in range(2500))] == [1000, 1000, 500]
    large = {"content": "x" * 1_000_000}
    batches = list(split([large] * 20))
    assert sum(map(len, batches)) == 20
    assert all(sum(map(len, lines)) + len(lines) <= BATCH_BYTES for lines in batches)
    assert list(split([])) == []


def test_items_that_an_outage_let_not_through_are_sent_again() -> None:
    def send(lines: list[bytes]) -> Call[list[Result]]:
        return Call(Request("POST", "/", body=b"".join(lines)), lambda _: [])

    batch = Batch([b"a", b"b", b"c", b"d"], send, 30)
    wait = batch.receive([Result(status=status, seq=seq) for status, seq in ((201, 1), (503, 0), (422, 0), (503, 0))])
    assert wait is not None
    assert batch.call().request.body == b"bd"
    assert batch.receive([Result(status=201, seq=2), Result(status=200, seq=3)]) is None
    assert [(each.status, each.seq) for each in batch.results()] == [(201, 1), (201, 2), (422, 0), (200, 3)]


def test_an_outage_that_outlasts_the_call_is_a_result() -> None:
    batch: Batch[Result] = Batch([b"a"], lambda _: Call(Request("POST", "/"), lambda _: []), 0)
    assert batch.receive([Result(status=503)]) is None
    assert batch.results()[0].status == 503


def test_a_question_is_asked_for_60_s_at_a_time() -> None:
    clock = Clock()
    question = Question({"id": "x"}, 90.2, Contents(), clock)
    asked = []
    for took in (60, 3.9, 26.4):
        call = question.call()
        asked.append((call.request.query, call.holds))
        clock.now += took
    assert asked == [([("reply_within", str(seconds))], seconds) for seconds in (60, 31, 27)]
    assert question.is_over


def test_ids_are_of_version_7_and_rise() -> None:
    ids = [uuid7() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(id[14] == "7" and id[19] in "89ab" for id in ids)
    assert ids[0][:8] <= ids[-1][:8]


@pytest.mark.parametrize(
    ("url", "loopback"),
    [("127.0.0.1:1", True), ("http://[::1]:1/bus/", True), ("https://localhost", True), ("http://10.0.0.1", False)],
)
def test_a_server_on_this_machine_is_not_asked_through_a_proxy(url: str, loopback: bool) -> None:
    settings = Settings.of(url, "k", None, 1, 1)
    assert settings.is_loopback is loopback
    assert not settings.url.endswith("/")
    assert "'k'" not in repr(settings)


def test_certificates_are_checked_where_there_is_tls() -> None:
    context = ssl.create_default_context()
    for url, verify, expected in (
        ("https://bus.example", True, True),
        ("https://bus.example", context, context),
        ("http://bus.example", True, False),
    ):
        assert http.options(Settings.of(url, None, None, 1, 1), verify)["verify"] is expected


def test_versions_of_the_same_contract() -> None:
    assert not is_other_major("0.9.3")
    assert is_other_major("1.0.0")
