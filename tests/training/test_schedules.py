import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.training.schedules import warmup_cosine, warmup_multistep, warmup_stable_decay


def rates(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_multistep_rises_then_halves_at_the_milestones():
    seen = rates(
        lambda o: warmup_multistep(o, warmup_steps=4, milestones=[6, 8], gamma=0.5), steps=10
    )
    assert seen == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.5])


def test_cosine_ends_at_the_floor_and_stays_there():
    seen = rates(lambda o: warmup_cosine(o, warmup_steps=0, max_steps=4, min_factor=0.1), steps=7)
    assert seen[0] == 2.0
    assert seen[2] == pytest.approx(1.1)
    assert seen[4:] == pytest.approx([0.2, 0.2, 0.2])


def test_stable_decay_falls_in_the_last_steps_only():
    def make(max_steps):
        return lambda o: warmup_stable_decay(o, warmup_steps=2, decay_steps=4, max_steps=max_steps)

    short, long = rates(make(8), steps=10), rates(make(100), steps=10)
    assert short[:5] == long[:5] == pytest.approx([1.0, 2.0, 2.0, 2.0, 2.0])
    assert short[5:] == pytest.approx([2 - 1.0, 2 - 2 * 0.5**0.5, 2 - 2 * 0.75**0.5, 0.0, 0.0])
    assert long[5:] == [2.0] * 5
    assert rates(make(2), steps=3) == pytest.approx([1.0, 2 - 2 * 0.5**0.5, 0.0])
    with pytest.raises(InputError, match=r"scheduler.decay_steps must be an integer of at least 0"):
        rates(
            lambda o: warmup_stable_decay(o, warmup_steps=0, decay_steps=-4, max_steps=9), steps=1
        )


def test_milestones_that_fall_are_refused():
    with pytest.raises(InputError, match=r"must rise, got \[5, 3\]"):
        rates(lambda o: warmup_multistep(o, warmup_steps=0, milestones=[5, 3], gamma=0.5), 1)
