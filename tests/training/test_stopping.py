import os
import signal

import pytest

from esc_sr.training.stopping import StopRequest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")


@pytest.fixture
def request_to_stop():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield StopRequest()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_that_is_ignored_stays_so(request_to_stop):
    """As SIGINT is of what a script starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request_to_stop.listen()
    signal.raise_signal(signal.SIGINT)
    assert request_to_stop.received is None
    signal.raise_signal(signal.SIGTERM)
    assert request_to_stop.received == signal.SIGTERM
    request_to_stop.release()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_signals_go_back_to_who_had_them(request_to_stop):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    request_to_stop.listen()
    assert signal.getsignal(signal.SIGINT) != before[0]
    request_to_stop.release()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
