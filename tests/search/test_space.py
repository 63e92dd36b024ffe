import optuna
import pytest

from esc_sr.errors import InputError
from esc_sr.search.space import Parameter, grid_size, override, overrides_of, read_space

SPACE = {
    "attention": {"type": "categorical", "choices": ["sdpa", "conv_attn"]},
    "model.num_conv_attn": {"type": "int", "low": 2, "high": 6, "step": 2},
    "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
}


def test_every_kind_is_read_and_proposes_values_of_its_range():
    space = read_space(SPACE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = {parameter.key: set() for parameter in space}
    for _ in range(30):
        trial = study.ask()
        values = {parameter.key: parameter.suggest(trial) for parameter in space}
        # The same trial asked again gives the same: that is how one that was left goes on.
        again = optuna.trial.Trial(study, trial._trial_id)
        assert values == {parameter.key: parameter.suggest(again) for parameter in space}
        for key, value in values.items():
            seen[key].add(value)
    assert seen["attention"] == {"sdpa", "conv_attn"}
    assert seen["model.num_conv_attn"] == {2, 4, 6}
    assert all(1e-4 <= value <= 1e-2 for value in seen["optimizer.lr"])
    assert sum(value < 1e-3 for value in seen["optimizer.lr"]) > 8  # half, by the logarithm


def test_values_become_overrides():
    assert overrides_of({"a": "sdpa", "b": 1e-5, "c": 3}) == ["a=sdpa", "b=1e-05", "c=3"]
    assert [override("x", value) for value in (True, None)] == ["x=true", "x=null"]


def test_a_grid_has_both_ends():
    whole = Parameter("a", "int", low=1, high=4)
    steps = Parameter("b", "float", low=0.1, high=0.5, step=0.2)
    assert whole.grid() == [1, 2, 3, 4]
    assert steps.grid() == pytest.approx([0.1, 0.3, 0.5])
    assert grid_size([whole, steps]) == 12
    with pytest.raises(InputError, match=r"sampler=grid needs a step or choices for params\.c"):
        grid_size([Parameter("c", "float", low=0.1, high=0.5)])


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (3, r"params\.x must be like"),
        ({"low": 1}, r"params\.x must be like"),
        ({"type": "integer"}, r"params\.x\.type=integer is unknown; .*categorical, int, float"),
        ({"type": "float", "low": 1}, "of type float lacks high; it has high, low and may have"),
        ({"type": "int", "low": 1, "high": 2, "base": 2}, "has no base"),
        ({"type": "categorical", "choices": []}, "at least one value"),
        ({"type": "categorical", "choices": [[8, 16]]}, r"\[8, 16\] must be in quotes"),
        ({"type": "categorical", "choices": [1, "1"]}, "a value twice"),
        ({"type": "int", "low": 1.5, "high": 2}, r"low must be an integer, got 1\.5"),
        ({"type": "float", "low": "a", "high": 2}, "low must be a number, got a"),
        ({"type": "float", "low": 3, "high": 2}, "low=3 is above high=2"),
        ({"type": "float", "low": 0, "high": 2, "log": True}, "log needs low above 0"),
        ({"type": "float", "low": 1, "high": 2, "log": "yes"}, "log is true or false"),
        ({"type": "int", "low": 1, "high": 4, "step": 2}, "not low=1 plus a multiple of step=2"),
        ({"type": "int", "low": 1, "high": 4, "step": 0}, "step must be above 0"),
    ],
)
def test_what_is_not_well_described_is_told(described, message):
    with pytest.raises(InputError, match=message):
        read_space({"x": described})


def test_nothing_and_folders_cannot_be_varied():
    with pytest.raises(InputError, match="nothing is varied"):
        read_space({})
    with pytest.raises(InputError, match=r"params\.run_dir: the search itself sets run_dir"):
        read_space({"run_dir": SPACE["attention"]})
