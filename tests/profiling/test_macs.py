import pytest
import torch
import torch.nn.functional as F
from torch import nn

from esc_sr import create_model
from esc_sr.errors import InputError
from esc_sr.profiling.macs import count_activations, count_macs, count_parameters

H, W = 6, 10


class Attention(nn.Module):
    """One head over all pixels, with a bias as the mask; SDPA or written out."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.bias = nn.Parameter(torch.zeros(1, 1, H * W, H * W))

    def forward(self, x):
        q = x.flatten(2).mT.unsqueeze(1)  # 1, 1, N, 3
        if self.fused:
            return F.scaled_dot_product_attention(q, q, q, attn_mask=self.bias)
        return (q @ q.mT + self.bias).softmax(-1) @ q


@pytest.mark.parametrize(
    ("module", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), H * W * 3 * 8 * 9),
        (nn.Conv2d(3, 6, 5, padding=2, groups=3), H * W * 6 * 1 * 25),
        (nn.Conv2d(3, 4, 2, stride=2), (H // 2) * (W // 2) * 3 * 4 * 4),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.GELU(), nn.PixelShuffle(1)), H * W * 9),
        (Attention(fused=True), 2 * (H * W) ** 2 * 3),
        (Attention(fused=False), 2 * (H * W) ** 2 * 3),
    ],
    ids=["conv", "depthwise", "strided", "only_products", "sdpa_with_bias", "eager_attention"],
)
def test_multiply_adds_are_those_counted_by_hand(module, macs):
    assert count_macs(module, (H, W)) == macs


def test_the_module_stays_where_and_how_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    count_macs(module, (16, 16))
    assert all(m.training for m in module.modules())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_half_precision_modules_are_counted_alike():
    module = nn.Conv2d(3, 8, 3)
    assert count_macs(module.bfloat16(), (8, 8)) == 36 * 3 * 8 * 9


def test_large_images_cost_nothing_to_count():
    assert count_macs(nn.Conv2d(3, 3, 1), (100_000, 100_000)) == 9 * 10**10


def test_refuses_a_size_that_is_none():
    with pytest.raises(InputError, match="lq_size"):
        count_macs(nn.Identity(), (0, 8))


def test_parameters_are_counted_once_and_buffers_not():
    shared = nn.Linear(4, 4, bias=False)
    module = nn.Sequential(shared, shared, nn.BatchNorm1d(4))
    assert count_parameters(module) == 16 + 8
    module[2].requires_grad_(False)
    assert count_parameters(module) == 24
    assert count_parameters(module, only_trainable=True) == 16


def test_activations_are_what_convolutions_write_dynamic_ones_included():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    assert count_activations(network, (5, 7)) == (8 + 4) * 5 * 7

    class Dynamic(nn.Module):
        def forward(self, x):
            kernel = x.mean((2, 3)).reshape(1, 3, 1, 1)
            return nn.functional.conv2d(x, kernel)

    assert count_activations(Dynamic(), (5, 7)) == 5 * 7


@pytest.mark.parametrize("attention", ["eager", "flex"])
def test_the_kernel_of_the_attention_changes_no_count(attention):
    """FlexAttention refuses the meta device, so that nothing could be counted under it."""
    size = (24, 40)
    reference = create_model("esc_lt", scale=4, attention="sdpa")
    network = create_model("esc_lt", scale=4, attention=attention)
    assert count_macs(network, size) == count_macs(reference, size)
    assert count_activations(network, size) == count_activations(reference, size)
