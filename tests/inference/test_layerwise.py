import pytest
import torch

from esc_sr import create_model, load_model
from esc_sr.inference.layerwise import enlarge_layerwise
from esc_sr.inference.tiling import enlarge_in_tiles

SMALL = {"dim": 16, "partial_dim": 8, "num_blocks": 2, "num_conv_attn": 2, "window_size": 8}


def randomised(network):
    """Fresh weights make zero dynamic kernels; these do not."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.mark.parametrize(
    ("name", "attention", "changes"),
    [
        ("esc", "sdpa", {"num_heads": 2}),
        ("esc", "sdpa", {"num_heads": 2, "use_ln": True, "large_kernel_size": 1}),
        ("esc", "sdpa", {"num_heads": 2, "window_size": [4, 12]}),
        ("esc", "sdpa", {"num_heads": 2, "num_conv_attn": 0}),
        ("esc", "conv_attn", {}),
        ("esc", "conv_attn", {"shared_large_kernel": False, "dynamic_kernel": False}),
        ("esc_attn", "sdpa", {"num_heads": 2}),
        ("esc_attn", "eager", {"num_heads": 2, "window_size": [4, 12], "use_ln": True}),
        ("esc_fp", "sdpa", {"num_heads": 2, "self_attention_only": True}),
        ("esc_fp", "eager", {"num_heads": 2}),
    ],
)
@pytest.mark.parametrize("scale", [2, 3])
def test_the_result_is_the_untiled_one_for_any_weights(name, attention, changes, scale):
    network = create_model(name, scale=scale, attention=attention, **(SMALL | changes))
    network = randomised(network)
    lq = torch.rand(2, 3, 40, 48)
    with torch.inference_mode():
        whole = network(lq)
        rows = list(enlarge_layerwise(network, lq, tile=(16, 24)))
    assert [strip.shape[-2] for strip in rows] == [16 * scale, 16 * scale, 8 * scale]
    assert torch.allclose(torch.cat(rows, -2), whole, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.parametrize("name", ["esc", "esc_attn"])
def test_tiles_one_by_one_do_not_agree_so_the_test_above_can_fail(name):
    network, lq = (
        randomised(create_model(name, scale=2, num_heads=2, **SMALL)),
        torch.rand(1, 3, 40, 48),
    )
    with torch.inference_mode():
        whole = network(lq)
        rows = enlarge_in_tiles(network, lq, scale=2, tile=(16, 24), overlap=(8, 8), feather=4)
        assert not torch.allclose(torch.cat(list(rows), -2), whole, atol=1e-3)


def test_half_precision_is_kept():
    network, lq = (
        randomised(create_model("esc", scale=2, num_heads=2, **SMALL)),
        torch.rand(1, 3, 16, 24),
    )
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        whole = network(lq)
        (rows,) = enlarge_layerwise(network, lq, tile=(16, 8))
    assert rows.dtype == torch.float32
    assert torch.allclose(rows, whole.float(), atol=0.05 * float(whole.abs().max()))


def test_the_progress_ends_below_one_and_rises():
    seen = []
    network = create_model("esc", scale=2, num_heads=2, **SMALL)
    with torch.inference_mode():
        list(
            enlarge_layerwise(
                network, torch.rand(1, 3, 16, 16), tile=(8, 8), on_progress=seen.append
            )
        )
    assert seen == sorted(seen)
    assert len(seen) == 6
    assert 0 < seen[0] < seen[-1] < 1


@pytest.mark.parametrize("name", ["esc_x4", "esc_fp_x4"])
def test_the_authors_network_gives_its_own_output_in_tiles(shared_dir, name, tmp_path):
    golden = torch.load(shared_dir / "golden" / f"{name}.pt", weights_only=True)
    torch.save({"params": golden["state_dict"]}, tmp_path / "weights.pth")
    network = load_model(tmp_path / "weights.pth")
    lq = golden["lr"].float()
    window = network.window_size[0]
    lq = lq.repeat(1, 1, 2, 2)[..., : 2 * window, : 3 * window]
    with torch.inference_mode():
        whole = network(lq)
        rows = list(enlarge_layerwise(network, lq, tile=(window, window)))
    assert torch.allclose(torch.cat(rows, -2), whole, atol=2e-6 * float(whole.abs().max()))
