import itertools
import math

import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.functional.windows import from_windows, to_windows
from esc_sr.models.peers.swinir import ShiftedWindowAttention, SwinIRLight
from esc_sr.profiling.macs import count_macs, count_parameters

PARAMETERS = {2: 910_152, 3: 918_267, 4: 929_628}
# As the ESC paper and others print them, and as SwinIR's own table does.
PUBLISHED_PARAMETERS_K = {2: 910, 3: 918, 4: 930}
PRINTED_IN_SWINIR_K = {2: 878, 3: 886, 4: 897}
# Table 2 of the ESC paper, G multiply-adds for a 1280×720 output.
PUBLISHED_MACS = {2: 244.2, 3: 110.8, 4: 63.6}


def full_size(scale):
    with torch.device("meta"):
        return SwinIRLight(scale=scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parameters_equal_the_published_counts(scale):
    count = count_parameters(full_size(scale))
    assert count == PARAMETERS[scale]
    assert round(count / 1e3) == PUBLISHED_PARAMETERS_K[scale]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_swinirs_own_table_leaves_the_bias_tables_out(scale):
    network = full_size(scale)
    tables = [p.numel() for n, p in network.named_parameters() if n.endswith("bias_table")]
    assert tables == 24 * [225 * 6]
    assert round((count_parameters(network) - sum(tables)) / 1e3) == PRINTED_IN_SWINIR_K[scale]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_multiply_adds_equal_the_published_table_which_counts_norms_too(scale):
    """Five operations for each value normalised are 1.4 % of it; `count_macs` counts none."""
    height, width = -(-720 // scale), -(-1280 // scale)
    macs = count_macs(full_size(scale), (height, width)) / 1e9
    assert macs == pytest.approx(PUBLISHED_MACS[scale], rel=0.02)
    pixels = math.ceil(height / 8) * 8 * math.ceil(width / 8) * 8
    norms = 2 * 24 + 2
    assert macs + 5 * norms * 60 * pixels / 1e9 == pytest.approx(PUBLISHED_MACS[scale], rel=0.01)


def test_parameters_have_the_authors_names():
    names = full_size(2).state_dict().keys()
    assert len(names) == 2 + 2 + 4 * (6 * 13 + 2) + 2 + 2 + 2
    block = "layers.3.residual_group.blocks.5"
    assert {
        "conv_first.weight",
        "patch_embed.norm.weight",
        f"{block}.norm1.weight",
        f"{block}.attn.relative_position_bias_table",
        f"{block}.attn.qkv.bias",
        f"{block}.attn.proj.weight",
        f"{block}.norm2.bias",
        f"{block}.mlp.fc1.weight",
        f"{block}.mlp.fc2.weight",
        "layers.3.conv.weight",
        "norm.weight",
        "conv_after_body.weight",
        "upsample.0.weight",
    } <= names


def block_attention(index, window_size):
    """Return the attention of a block of a tiny network, with a table that matters."""
    network = SwinIRLight(
        scale=2, dim=6, num_groups=1, num_blocks=2, num_heads=2, window_size=window_size
    )
    attention = network.layers[0].residual_group.blocks[index].attn
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    return attention


def attention_pixel_by_pixel(attention, x, *, window, shift):
    """Compute the paper's masked attention in rolled windows, one query at a time."""
    height, width, dim = x.shape
    heads, d = 2, dim // 2
    q, k, v = attention.qkv(x).reshape(height, width, 3, heads, d).unbind(2)
    table = attention.relative_position_bias_table

    def place(y, x):
        """Which window of the rolled map a pixel is in, and which edges it was rolled across."""
        rolled = ((y - shift) % height, (x - shift) % width)
        return rolled[0] // window, rolled[1] // window, y < shift, x < shift

    def rolled_offset(query, key, length):
        return (query - shift) % length - (key - shift) % length

    pixels = list(itertools.product(range(height), range(width)))
    out = torch.empty(height, width, heads, d)
    for qy, qx in pixels:
        keys = [pixel for pixel in pixels if place(*pixel) == place(qy, qx)]
        for head in range(heads):
            scores = []
            for ky, kx in keys:
                dy, dx = rolled_offset(qy, ky, height), rolled_offset(qx, kx, width)
                index = (dy + window - 1) * (2 * window - 1) + dx + window - 1
                score = q[qy, qx, head] @ k[ky, kx, head] / math.sqrt(d)
                scores.append(score + table[index, head])
            weights = torch.stack(scores).softmax(0)
            values = torch.stack([v[ky, kx, head] for ky, kx in keys])
            out[qy, qx, head] = weights @ values
    return attention.proj(out.flatten(2))


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(
    ("window", "size"),
    [(4, (8, 12)), (4, (4, 4)), (4, (4, 8)), (3, (6, 9)), (2, (4, 2)), (1, (2, 3))],
)
def test_attention_equals_loops_over_pixels(index, window, size):
    attention, x = block_attention(index, window), torch.randn(1, *size, 6)
    with torch.no_grad():
        expected = attention_pixel_by_pixel(
            attention, x[0], window=window, shift=index * (window // 2)
        )
        torch.testing.assert_close(attention(x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(("window", "size"), [(4, (8, 12)), (4, (4, 4)), (3, (6, 9))])
def test_the_attention_map_is_what_the_output_is_made_with(index, window, size):
    attention, x = block_attention(index, window), torch.randn(2, *size, 6)
    shift = index * (window // 2)
    with torch.no_grad():
        found = attention.attention_map(x)
        v = attention.qkv(x)[..., 12:].movedim(3, 1).roll((-shift, -shift), (2, 3))
        out = from_windows(found @ to_windows(v, (window,) * 2, 2), (window,) * 2, size)
        out = attention.proj(out.roll((shift, shift), (2, 3)).movedim(1, 3))
        torch.testing.assert_close(out, attention(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:3]))


def test_windows_of_every_second_block_are_shifted():
    blocks = full_size(2).layers[0].residual_group.blocks
    assert [block.attn.shift for block in blocks] == [0, 4, 0, 4, 0, 4]


def test_shifted_windows_join_what_others_part_and_do_not_join_opposite_edges():
    x = torch.zeros(1, 8, 8, 6)
    seen = []
    for index in (0, 1):
        attention = block_attention(index, 4)
        changed = x.clone()
        changed[:, 3, 3] = torch.randn(6)  # the last pixel of the first window
        changed_too = (attention(changed) - attention(x)).abs().amax((0, 3)) > 0
        seen.append({(int(y), int(x)) for y, x in changed_too.nonzero()})
    assert seen[0] == set(itertools.product(range(4), range(4)))
    assert seen[1] == set(itertools.product(range(2, 6), range(2, 6)))

    attention = block_attention(1, 4)
    changed = x.clone()
    changed[:, 0, 0] = torch.randn(6)
    changed_too = (attention(changed) - attention(x)).abs().amax((0, 3)) > 0
    assert {(int(y), int(x)) for y, x in changed_too.nonzero()} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_an_image_is_padded_by_reflection_and_cropped():
    network = SwinIRLight(scale=3, dim=6, num_groups=1, num_blocks=2, num_heads=2, window_size=4)
    lq = torch.rand(1, 3, 6, 7)
    padded = torch.nn.functional.pad(lq, (0, 1, 0, 2), mode="reflect")
    torch.testing.assert_close(network(lq), network(padded)[..., :18, :21])
    assert network.window_size == (4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0}, "scale must be an integer of at least 1, got 0"),
        ({"scale": 2.0}, "scale must be an integer of at least 1, got 2.0"),
        ({"num_heads": 7}, "num_heads=7 must divide model.dim=60"),
        ({"window_size": 0}, "window_size must be an integer of at least 1"),
        ({"mlp_ratio": 0}, "mlp_ratio=0 leaves no hidden channels of dim=60"),
    ],
)
def test_impossible_values_are_named(changes, message):
    with pytest.raises(InputError, match=message) as caught, torch.device("meta"):
        SwinIRLight(**{"scale": 2, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("size", [(4, 4), (4, 12), (8, 8)])
def test_what_is_exported_computes_the_same(size, shift):
    """With open sides whole windows are padded and masked, in the place of smaller ones."""
    attention = ShiftedWindowAttention(8, num_heads=2, window_size=4, shift=shift)
    x = torch.randn(2, *size, 8)
    padded = attention._attend_padded(attention.qkv(x).movedim(3, 1)).movedim(1, 3)
    torch.testing.assert_close(attention.proj(padded), attention(x))
