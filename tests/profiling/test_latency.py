import pytest
import torch
from torch import nn

from esc_sr.errors import InputError
from esc_sr.profiling.latency import measure_latency
from esc_sr.profiling.undisturbed import undisturbed


class Recorder(nn.Module):
    """Notes the conditions of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.calls: list[tuple[bool, bool, torch.dtype]] = []

    def forward(self, x):
        y = self.norm(self.conv(x) + torch.rand(()))
        self.calls.append((self.training, torch.is_grad_enabled(), y.dtype))
        return y


def test_calls_are_counted_and_percentiles_ordered():
    module = Recorder()
    latency = measure_latency(module, torch.rand(1, 3, 8, 8), warmup=2, repeats=5)
    assert len(module.calls) == 7
    assert 0 < latency.p10_ms <= latency.median_ms <= latency.p90_ms
    assert latency.repeats == 5
    assert latency.device == "cpu"
    assert latency.dtype == "float32"
    assert latency.threads == torch.get_num_threads()


def test_the_clock_runs_in_milliseconds_and_after_the_warmup(monkeypatch):
    now = iter([0.0, 0.010, 1.0, 1.020, 2.0, 2.030])
    monkeypatch.setattr("esc_sr.profiling.latency.time.perf_counter", lambda: next(now))
    latency = measure_latency(nn.Identity(), torch.rand(1, 3, 2, 2), warmup=4, repeats=3)
    assert latency.median_ms == pytest.approx(20)
    assert latency.p10_ms == pytest.approx(12)  # linear between 10 and 20
    assert latency.p90_ms == pytest.approx(28)


def test_runs_in_eval_mode_without_gradients_and_leaves_no_trace():
    module = Recorder()
    module.norm.eval()  # frozen inside a training parent: must stay so
    statistics = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.get_rng_state()
    measure_latency(
        module, torch.rand(1, 3, 8, 8, generator=torch.Generator()), warmup=1, repeats=2
    )
    assert module.calls == [(False, False, torch.float32)] * 3
    assert module.training
    assert module.conv.training
    assert not module.norm.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, statistics[k]) for k, v in module.state_dict().items())


def test_modes_come_back_after_an_error():
    module = Recorder()
    with pytest.raises(RuntimeError, match="channels"), undisturbed(module, torch.device("cpu")):
        module(torch.rand(1, 5, 8, 8))
    assert module.training
    assert torch.is_grad_enabled()


def test_context_is_entered_for_each_call_and_its_dtype_told():
    module = nn.Conv2d(3, 4, 3)
    entered = []

    def context():
        entered.append(True)
        return torch.autocast("cpu", dtype=torch.bfloat16)

    latency = measure_latency(module, torch.rand(1, 3, 8, 8), warmup=1, repeats=3, context=context)
    assert latency.dtype == "bfloat16"
    assert len(entered) >= 4


@pytest.mark.parametrize(("warmup", "repeats"), [(-1, 1), (0, 0)])
def test_refuses_counts_that_make_no_sense(warmup, repeats):
    with pytest.raises(InputError, match="repeats"):
        measure_latency(nn.Identity(), torch.rand(1), warmup=warmup, repeats=repeats)


@pytest.mark.gpu
def test_on_a_gpu_the_time_is_that_of_the_work_and_not_of_its_launch():
    class Sleep(nn.Module):
        def forward(self, x):
            torch.cuda._sleep(20_000_000)  # clock cycles: 10 ms at 2 GHz
            return x

    latency = measure_latency(Sleep(), torch.rand(1, device="cuda"), warmup=1, repeats=3)
    assert latency.median_ms > 5
    assert latency.device == torch.cuda.get_device_name()
