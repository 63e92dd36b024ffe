"""Parity with the authors' network: weights, outputs, loss and every gradient norm."""

import pytest
import torch

from esc_sr.models.checkpoints import deduce_config
from esc_sr.models.esc import ESC
from esc_sr.models.esc_fp import ESCFP
from esc_sr.models.esc_real import ESCReal, ESCRealM

CASES = {
    "esc_x2": ESC,
    "esc_x4": ESC,
    "esc_ln_x3": ESC,
    "esc_fp_x4": ESCFP,
    "esc_real_x4": ESCReal,
    "esc_real_m_nearest_conv_x3": ESCRealM,
    "esc_real_m_nearest_conv_x4": ESCRealM,
    "esc_real_m_pixelshuffle_x3": ESCRealM,
    "esc_real_m_pixelshuffledirect_x4": ESCRealM,
    "esc_real_m_unshuffle_x2": ESCRealM,
}
OUR_NAMES = {
    "pdim": "partial_dim",
    "n_blocks": "num_blocks",
    "conv_blocks": "num_conv_attn",
    "exp_ratio": "ffn_ratio",
    "kernel_size": "large_kernel_size",
    "upscaling_factor": "scale",
    "unshuffle_mod": "unshuffle",
}


@pytest.fixture(params=CASES)
def golden(request, shared_dir):
    path = shared_dir / "golden" / f"{request.param}.pt"
    return request.param, torch.load(path, weights_only=True)


def network_of(name, golden, attention):
    kwargs = {OUR_NAMES.get(key, key): value for key, value in golden["meta"]["kwargs"].items()}
    network = CASES[name](**kwargs, attention=attention)
    weights = {key: value.float() for key, value in golden["state_dict"].items()}
    network.load_state_dict(weights, strict=True)
    return network


def relative_error(ours, expected):
    return ((ours - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_eval_output_equals_the_authors(golden, attention):
    name, data = golden
    network = network_of(name, data, attention).eval()
    with torch.no_grad():
        assert relative_error(network(data["lr"].float()), data["sr_eval"]) <= 1e-5


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_training_output_loss_and_gradients_equal_the_authors(golden, attention):
    name, data = golden
    network = network_of(name, data, attention).train()
    sr = network(data["lr_batch"].float())
    assert relative_error(sr, data["sr_train"]) <= 1e-5
    loss = (sr - data["target_batch"].float()).abs().mean()
    torch.testing.assert_close(loss, data["loss"], rtol=1e-5, atol=0)
    loss.backward()
    parameters = dict(network.named_parameters())
    assert parameters.keys() == data["grad_norm"].keys()
    for key, norm in data["grad_norm"].items():
        assert relative_error(parameters[key].grad.norm(), norm) <= 1e-4, key


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["eager", "sdpa", "flex"])
def test_cuda_gives_the_authors_output_loss_and_gradients(golden, attention, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    name, data = golden
    network = network_of(name, data, attention).cuda()
    with torch.no_grad():
        sr = network.eval()(data["lr"].float().cuda())
    assert relative_error(sr.cpu(), data["sr_eval"]) <= 1e-5
    sr = network.train()(data["lr_batch"].float().cuda())
    assert relative_error(sr.cpu(), data["sr_train"]) <= 1e-5
    loss = (sr - data["target_batch"].float().cuda()).abs().mean()
    torch.testing.assert_close(loss.cpu(), data["loss"], rtol=1e-5, atol=0)
    loss.backward()
    for key, parameter in network.named_parameters():
        assert relative_error(parameter.grad.norm().cpu(), data["grad_norm"][key]) <= 1e-4, key


def test_eval_is_differentiable_and_has_the_gradients_of_training(golden):
    name, data = golden
    network = network_of(name, data, "sdpa").eval()
    loss = (network(data["lr_batch"].float()) - data["target_batch"].float()).abs().mean()
    loss.backward()
    for key, parameter in network.named_parameters():
        assert relative_error(parameter.grad.norm(), data["grad_norm"][key]) <= 1e-4, key


def test_the_configuration_follows_from_the_weights(golden):
    name, data = golden
    config = deduce_config(data["state_dict"])
    assert config.pop("architecture") == CASES[name].__name__
    for upstream, value in data["meta"]["kwargs"].items():
        assert config[OUR_NAMES.get(upstream, upstream)] == value, upstream
