import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.inference.device import pick_device


def test_auto_is_a_device_that_works():
    assert torch.zeros(1, device=pick_device("auto")).item() == 0


@pytest.mark.parametrize("name", ["tpu9", "cuda:99", ""])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(InputError, match=f"device={name} is not available here; use device=cpu"):
        pick_device(name)
