import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from esc_sr import create_model, save_model
from esc_sr.config import compose_config
from esc_sr.data.images import write_image
from esc_sr.errors import InputError
from esc_sr.tasks import analyze

TINY = {
    "dim": 8, "partial_dim": 4, "num_blocks": 2, "num_conv_attn": 1, "window_size": 8,
    "num_heads": 2, "large_kernel_size": 5,
}  # fmt: skip
MODEL = ["model=esc", *(f"model.{key}={value}" for key, value in TINY.items())]
SMALL = ["scale=2", "crop=16", "num_images=4", "device=cpu"]
SWINIR = [
    "model=swinir_light", "model.dim=8", "model.num_groups=1", "model.num_blocks=2",
    "model.num_heads=2",
]  # fmt: skip


def run(*overrides):
    overrides = analyze.translated([*SMALL, *map(str, overrides)])
    return analyze.run(compose_config("analyze", overrides))


@pytest.fixture
def checkpoints(tmp_path):
    """Two networks whose every weight matters, saved."""
    paths = []
    for name in ("a", "b"):
        network = create_model("esc", scale=2, **TINY)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        paths.append(str(save_model(network, tmp_path / "weights" / f"{name}.safetensors")))
    return paths


def numbers_of(folder, kind):
    return json.loads((folder / f"{kind}.json").read_text())


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_the_contract(tmp_path, checkpoints, monkeypatch, capsys):
    """`esc-sr analyze kind=similarity CHECKPOINT layers=[...] output_dir=OUT`."""
    monkeypatch.setattr(sys, "argv", ["esc-sr"])
    out = tmp_path / "deep" / "out"
    analyze.main(
        [
            "kind=similarity", checkpoints[0], "layers=[blocks.*.attn,blocks.?]", "crop=16",
            "num_images=4", f"output_dir={out}",
        ]
    )  # fmt: skip
    assert files(out) == {f"similarity.{suffix}" for suffix in ("json", "npz", "png", "svg")}
    found = numbers_of(out, "similarity")
    assert found["networks"] == [
        {
            "name": "a.safetensors",
            "title": "ESC",
            "checkpoint": checkpoints[0],
            "scale": 2,
            "trained": True,
        }
    ]
    assert len(found["images"]) == 4
    (one,) = found["similarities"]
    assert one["layers_a"] == ["blocks.0.attn", "blocks.0", "blocks.1.attn", "blocks.1"]
    with np.load(out / "similarity.npz") as arrays:
        np.testing.assert_allclose(arrays["matrix_0"], one["matrix"])
        assert list(arrays["layers_a_0"]) == one["layers_a"]
    matrix = np.array(one["matrix"])
    np.testing.assert_allclose(np.diag(matrix), 1)
    off = matrix[~np.eye(4, dtype=bool)]
    assert one["mean"] == pytest.approx(off.mean())
    printed = capsys.readouterr().out
    assert f"{off.mean():.3f}" in printed
    assert "not trained" not in printed
    assert printed.count("written: ") == 4


def test_fresh_weights_are_told_and_the_same_each_time(tmp_path, capsys):
    for name in ("a", "b"):
        outcome = run(*MODEL, f"output_dir={tmp_path / name}")
    assert "not trained, with fresh weights: esc" in capsys.readouterr().out
    assert outcome.numbers["networks"][0]["trained"] is False
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    other = run(*MODEL, "seed=1").numbers["similarities"][0]["mean"]
    assert other != outcome.numbers["similarities"][0]["mean"]


@pytest.mark.parametrize("examples", ["pixels", "images"])
@pytest.mark.parametrize("estimator", ["unbiased", "plain"])
def test_two_checkpoints_give_both_matrices_and_the_one_between(
    examples, estimator, checkpoints, capsys
):
    outcome = run(*checkpoints, f"examples={examples}", f"estimator={estimator}")
    found = outcome.numbers["similarities"]
    titles = ["a.safetensors", "b.safetensors", "a.safetensors × b.safetensors"]
    assert [one["title"] for one in found] == titles
    assert [one["within"] for one in found] == [True, True, False]
    assert found[2]["neighbours"] is None
    assert f"CKA ({estimator}, {examples})" in capsys.readouterr().out


def test_networks_of_other_kinds_are_compared(capsys):
    network = "esc_sr.models.peers.rcan.RCAN"
    for model in (
        SWINIR,
        ["model=custom", f"model._target_={network}", "+model.dim=8", "+model.num_groups=2",
         "+model.num_blocks=1", "+model.reduction=4"],
    ):  # fmt: skip
        (one,) = run(*model).numbers["similarities"]
        assert len(one["layers_a"]) >= 5


def test_attention_maps_are_compared(checkpoints):
    (one,) = run(checkpoints[0], "measure=attention").numbers["similarities"]
    assert one["layers_a"] == ["blocks.0.attn", "blocks.1.attn"]
    assert 0 < one["mean"] < 1
    (swin,) = run(*SWINIR, "measure=attention").numbers["similarities"]
    assert len(swin["layers_a"]) == 2
    (eager,) = run(checkpoints[0], "measure=attention", "attention=eager").numbers["similarities"]
    np.testing.assert_allclose(eager["matrix"], one["matrix"], atol=1e-5)


def test_images_that_do_not_fill_a_batch_are_left_out_and_told():
    outcome = run(*MODEL, "num_images=6", "batch_size=5", "examples=images")
    assert any("1 images were left over" in note for note in outcome.notes)


def test_lam(tmp_path, checkpoints, capsys):
    out = tmp_path / "out"
    options = ["num_images=2", "steps=20", "window=[2,3,8]", "formats=[png]"]
    run("kind=lam", *checkpoints, *options, f"output_dir={out}")
    assert files(out) == {"lam.json", "lam.npz", "lam.png"}
    found = numbers_of(out, "lam")
    assert found["window"] == {"top": 2, "left": 3, "side": 8}
    assert len(found["attributions"]) == 4
    assert all(0 < one["diffusion_index"] < 100 for one in found["attributions"])
    assert all(one["completeness_error"] < 0.05 for one in found["attributions"])
    with np.load(out / "lam.npz") as arrays:
        assert arrays["attributions_1"].shape == (2, 3, 16, 16)
        change = found["attributions"][0]["end"] - found["attributions"][0]["start"]
        assert arrays["attributions_0"][0].sum() == pytest.approx(change, rel=0.05)
    printed = capsys.readouterr().out
    assert f"{found['mean_diffusion_index']['b.safetensors']:.2f}" in printed


def test_erf(tmp_path, checkpoints):
    out = tmp_path / "out"
    run("kind=erf", checkpoints[0], "shares=[0.5,0.9]", "batch_size=3", f"output_dir={out}")
    assert files(out) == {f"erf.{suffix}" for suffix in ("json", "npz", "png", "svg")}
    (field,) = numbers_of(out, "erf")["fields"]
    assert [area["share"] for area in field["areas"]] == [0.5, 0.9]
    assert 1 <= field["areas"][0]["side"] <= field["areas"][1]["side"] <= 17
    with np.load(out / "erf.npz") as arrays:
        assert arrays["field_0"].shape == (16, 16)


def test_kernels(tmp_path, checkpoints):
    out = tmp_path / "out"
    run("kind=kernels", *checkpoints, "formats=[svg]", f"output_dir={out}")
    pictures = {f"kernels_{i}_{name}.safetensors.svg" for i, name in enumerate("ab")}
    assert files(out) == {"kernels.json", "kernels.npz", *pictures}
    found = numbers_of(out, "kernels")["kernels"]
    assert [one["shared_kernel"] for one in found] == [[4, 4, 5, 5]] * 2
    assert all(0 < one["mean_image_dependence"] < 1 for one in found)
    with np.load(out / "kernels.npz") as arrays:
        assert arrays["dynamic_kernels_0"].shape == (2, 4, 4, 3, 3)


def test_spectrum(tmp_path):
    out = tmp_path / "out"
    run("kind=spectrum", *MODEL, "layers=[blocks.?,last]", f"output_dir={out}")
    assert files(out) == {f"spectrum.{suffix}" for suffix in ("json", "npz", "png", "svg")}
    (found,) = numbers_of(out, "spectrum")["spectra"]
    assert [one["layer"] for one in found["layers"]] == ["blocks.0", "blocks.1", "last"]
    assert all(0 < one["high_share"] < 1 for one in found["layers"])


def test_ones_own_images_degraded_or_as_they_are(tmp_path):
    folder = tmp_path / "images"
    torch.manual_seed(0)
    for name, size in (("large", (70, 80)), ("small", (41, 40))):
        write_image(folder / f"{name}.png", torch.randint(256, (3, *size), dtype=torch.uint8))
    outcome = run("kind=erf", *MODEL, f"images={folder}", "crop=20")
    assert outcome.numbers["images"] == ["large", "small"]
    outcome = run("kind=erf", *MODEL, f"images={folder}", "crop=40", "~degradation")
    assert outcome.arrays["field_0"].shape == (40, 40)
    lam = run("kind=lam", *MODEL, f"images={folder}", "crop=40", "~degradation", "steps=1")
    image = np.asarray(Image.open(folder / "small.png"))[:40]
    np.testing.assert_allclose(lam.arrays["lq"][1].transpose(1, 2, 0) * 255, image, atol=1e-3)


def test_nothing_is_written_without_output_dir_and_lists_of_models_work(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    outcome = run("kind=erf", "model=[esc,bicubic]", "num_images=1", "crop=8")
    assert [one["network"] for one in outcome.numbers["fields"]] == ["esc", "bicubic"]
    assert "fresh weights: esc" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no picture")

    monkeypatch.setattr("esc_sr.tasks.analyses.similarity_figure", fail)
    with pytest.raises(RuntimeError, match="no picture"):
        run(*MODEL, f"output_dir={tmp_path / 'out'}")
    assert not list((tmp_path / "out").iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    out = tmp_path / "out"
    run("kind=erf", *MODEL, f"output_dir={out}", "formats=[]")
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def half(path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(OSError, match="disk full"):
        run("kind=erf", *MODEL, f"output_dir={out}", "formats=[]", "seed=1")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scale=8"], "no weights for scale=8 come with this package"),
        (["kind=cka", *MODEL], "unknown kind 'cka'; choose one of: similarity, lam, erf"),
        (["measure=dot", *MODEL], "unknown measure 'dot'; choose one of: cka, attention"),
        (["estimator=best", *MODEL], "unknown estimator 'best'; choose one of: unbiased, plain"),
        (["examples=rows", *MODEL], "unknown examples 'rows'; choose one of: pixels, images"),
        (["formats=[gif]", *MODEL], "unknown formats 'gif'; choose one of: png, svg, pdf"),
        (["formats=png", *MODEL], r"formats must be a list such as formats=\[png,svg\], got png"),
        (["layers=attn", *MODEL], r"layers must be a list such as layers=\[blocks"),
        (["layers=[]", *MODEL], "layers must be a list"),
        (["layers=[blocks.*.atn]", *MODEL], r"matches 'blocks\.\*\.atn'.*blocks\."),
        (["crop=0", *MODEL], "crop must be an integer of at least 1, got 0"),
        (["crop=300", *MODEL], "crop=300 is larger than egg-basket.*set crop=144"),
        (["num_images=none", *MODEL], "num_images must be an integer"),
        (["scale=[2,4]", *MODEL], "scale must be an integer"),
        (["seed=-1", *MODEL], "seed must be an integer of at least 0"),
        (["images=nowhere", *MODEL], "no such folder: nowhere"),
        (["checkpoint=nowhere.pth"], "checkpoint not found: nowhere.pth"),
        (["checkpoint=[a,b,c]", *SWINIR], "checkpoint not found: a"),
        (["model=[esc_lt,bicubic,esc]"], "got 3 networks; analyze one, or two"),
        (["model=[bicubic,bicubic]"], "'bicubic' was given twice"),
        (["model=custom"], "model=custom needs a class"),
        (["kind=lam", "window=[1,2]", *MODEL], r"window must be \[top,left,side\]"),
        (["kind=lam", "window=[10,10,8]", *MODEL], r"window=\[10,10,8\] .* 16×16"),
        (["kind=lam", "steps=0", *MODEL], "steps must be an integer of at least 1"),
        (["kind=lam", "sigma=inf", *MODEL], "sigma must be a number above 0 and at most crop"),
        (["kind=erf", "images=3", *MODEL], "images must be a folder, got 3"),
        (["kind=lam", "sigma=0", *MODEL], "sigma must be a number above 0 and at most crop, got 0"),
        (["kind=lam", "layers=[proj]", *MODEL], "is for kind=similarity or spectrum, not for kin"),
        (["window=[1,2,3]", *MODEL], "is for kind=lam, not for kind=similarity: leave it out"),
        (["measure=attention", "estimator=plain", *MODEL], "estimator=plain is for measure=cka"),
        (["examples=images", "num_pixels=9", *MODEL], "num_pixels=9 is for examples=pixels"),
        (["kind=erf", "shares=[2]", *MODEL], "shares must be above 0 and at most 1, got 2"),
        (["kind=erf", "shares=[]", *MODEL], "shares must be a list"),
        (["examples=images", "num_images=3", *MODEL], "batches of at least 4 images, got 3"),
        (["num_pixels=3", *MODEL], "estimator=unbiased needs at least 4 examples"),
        (["measure=attention", "model=bicubic"], "bicubic has no layers with attention maps"),
        (["measure=attention", "layers=[proj]", *MODEL], "'proj' is a Conv2d, which has no att"),
        (["kind=kernels", *SWINIR], "SwinIRLight has no shared large kernel"),
        (["crop=12", *SWINIR, "layers=[conv_after_body]"], "set crop to a multiple"),
        (["attention=eager", "model=bicubic"], "has no attention to choose"),
        (["model=bicubic"], "layers: Bicubic has no layers to look into"),
    ],
)
def test_bad_input_is_told_in_one_line_before_anything_is_written(
    overrides, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        run(*overrides)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_checkpoints_of_different_scales_are_refused(tmp_path):
    paths = []
    for scale in (2, 3):
        network = create_model("esc", scale=scale, **TINY)
        paths.append(save_model(network, tmp_path / f"x{scale}.safetensors"))
    with pytest.raises(InputError, match="enlarge ×2 and ×3"):
        run(*paths, "scale=null")
