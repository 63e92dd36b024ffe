import math

import pytest
import torch

from esc_sr import create_model, load_model, save_model
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.checkpoints import read_checkpoint
from esc_sr.tasks import convert, evaluate, upscale
from esc_sr.tasks.candidates import candidates
from esc_sr.tasks.networks import with_output
from tiny import NETWORK

TINY = {**NETWORK, "num_heads": 2}
LQ = torch.rand(1, 3, 11, 17, generator=torch.Generator().manual_seed(0))


def converted(*overrides):
    return convert.run(compose_config("convert", ["device=cpu", *map(str, overrides)]))


def network_with(size, **changes):
    """A network whose table has entries of some size, and moves the output by as much."""
    network = create_model("esc", scale=2, **{**TINY, **changes})
    for module in network.modules():
        if isinstance(module, WindowAttention):
            torch.nn.init.normal_(module.relative_position_bias, std=size)
    return network


@pytest.fixture
def checkpoint(tmp_path):
    return save_model(network_with(0.05), tmp_path / "model.safetensors")


@pytest.fixture
def rough(tmp_path):
    """Weights of which waves keep little."""
    network = network_with(3.0)
    torch.nn.init.normal_(network.blocks[0].attn.to_out.weight)
    return save_model(network, tmp_path / "rough.safetensors")


@pytest.mark.parametrize(
    ("overrides", "bias"),
    [
        (["bias=fourier"], FourierBias(rank=16)),
        (["bias=fourier", "rank=8", "refine=false"], FourierBias(rank=8)),
        (["bias=axial"], AxialBias()),
    ],
)
def test_a_table_is_converted_and_the_result_told(checkpoint, overrides, bias, capsys):
    done = converted(f"checkpoint={checkpoint}", *overrides)
    assert done.output == checkpoint.with_name(f"model_{bias.kind}.safetensors")
    loaded = load_model(done.output)
    assert loaded.blocks[0].attn.attention.bias == bias
    assert list(done.fits) == ["blocks.0.attn"]
    assert len(done.images) == 3
    out = capsys.readouterr().out
    assert "blocks.0.attn" in out
    assert f"what the {bias.kind} bias" in out
    for image in done.images:
        assert 50 <= image.between < math.inf
        assert image.name in out
        assert f"{image.between:.2f}" in out
        assert f"{image.before:.3f}" in out
    assert "RGB clamped to 0..1" in out
    assert f"wrote {done.output}" in out.replace("\n", "")


def test_the_numbers_are_those_of_evaluate_and_of_the_outputs(checkpoint, shared_dir):
    """PSNR against the photographs is evaluate's own, and between outputs as the caption says."""
    done = converted(f"checkpoint={checkpoint}", "bias=fourier", "rank=4")
    for path, which in ((checkpoint, "before"), (done.output, "after")):
        (found,) = evaluate.run(
            compose_config("evaluate", [f"checkpoint={path}", "sets=[sample]", "device=cpu"])
        )
        assert found.sets["sample"].images == [image.name for image in done.images]
        assert found.sets["sample"].values["psnr_y"] == pytest.approx(
            [getattr(image, which) for image in done.images]
        )


def test_a_table_is_made_of_any_bias_and_is_the_same_network(checkpoint, tmp_path):
    fourier = converted(f"checkpoint={checkpoint}", "bias=fourier").output
    table = converted(
        f"checkpoint={fourier}", "bias=table", f"output={tmp_path / 'new' / 't.safetensors'}"
    )
    assert min(image.between for image in table.images) > 120
    loaded = load_model(table.output)
    assert loaded.blocks[0].attn.attention.bias == TableBias()
    torch.testing.assert_close(loaded(LQ), load_model(fourier)(LQ), rtol=0, atol=1e-6)
    assert loaded.state_dict().keys() == load_model(checkpoint).state_dict().keys()


def test_what_differs_too_much_is_refused_and_nothing_written(rough, capsys):
    before = sorted(rough.parent.iterdir())
    with pytest.raises(InputError, match=r"dB apart on '.*less than min_psnr=50.*rank=48") as told:
        converted(f"checkpoint={rough}", "bias=fourier", "rank=2")
    assert "force=true" in str(told.value)
    assert "init_from" in str(told.value)
    assert "\n" not in str(told.value)
    assert "blocks.0.attn" in capsys.readouterr().out  # the numbers are told all the same
    assert sorted(rough.parent.iterdir()) == before
    with pytest.raises(InputError, match="bias=fourier rank=48, or force=true"):
        converted(f"checkpoint={rough}", "bias=axial")
    with pytest.raises(InputError, match="rank=48 or refine=true"):
        converted(f"checkpoint={rough}", "bias=fourier", "rank=2", "refine=false")


@pytest.mark.parametrize("way", ["force=true", "min_psnr=0"])
def test_it_is_written_where_it_is_wanted(rough, way):
    done = converted(f"checkpoint={rough}", "bias=fourier", "rank=2", way)
    assert done.output.is_file()
    assert min(image.between for image in done.images) < 50


def test_nothing_is_overwritten_unasked(checkpoint):
    target = checkpoint.with_name("model_axial.safetensors")
    target.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already: give another name with -o, or overwrite"):
        converted(f"checkpoint={checkpoint}", "bias=axial")
    assert target.read_bytes() == b"mine"
    converted(f"checkpoint={checkpoint}", "bias=axial", "overwrite=true")
    assert load_model(target).config["bias"] == {"kind": "axial"}
    with pytest.raises(InputError, match="is the checkpoint itself"):
        converted(
            f"checkpoint={checkpoint}", "bias=axial", f"output={checkpoint}", "overwrite=true"
        )


def test_a_failing_disk_leaves_nothing_behind(checkpoint, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("esc_sr.models.checkpoints.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        converted(f"checkpoint={checkpoint}", "bias=axial")
    assert [path.name for path in checkpoint.parent.iterdir()] == ["model.safetensors"]


def test_images_of_ones_own_are_compared(checkpoint, shared_dir):
    folder = shared_dir / "benchmarks" / "Set5" / "HR"
    done = converted(f"checkpoint={checkpoint}", "bias=axial", f"images={folder}")
    assert {image.name for image in done.images} >= {"baby", "butterfly"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["bias=waves"], "unknown bias 'waves'; choose one of: fourier, axial, table"),
        (["bias=table"], r"model.safetensors: .*has that bias already \(kind=table\)"),
        (["bias=axial", "rank=16"], "rank is a setting of bias=fourier"),
        (["bias=fourier", "rank=7"], "rank must be even"),
        (["bias=fourier", "rank=two"], "rank must be an integer"),
        (["bias=fourier", "refine=3"], "refine is true or false, got 3"),
        (
            ["bias=fourier", "min_psnr=high"],
            "a finite number of 0 dB or more, got high",
        ),
        (
            ["bias=fourier", "min_psnr=-3"],
            "a finite number of 0 dB or more, got -3",
        ),
        (["bias=fourier", "min_psnr=.nan"], "a finite number of 0 dB or more"),
        (["bias=fourier", "scale=2"], "leave scale out"),
        (["bias=fourier", "protocol=[paper,rgb]"], "one protocol is needed"),
        (["bias=fourier", "output=x.ckpt"], "must be a .safetensors file, got x.ckpt"),
        (["bias=fourier", "output=[a]"], "output must be a file"),
        (["bias=fourier", "output=''"], "output must be a file, such as -o"),
        (["bias=fourier", "images=/nowhere"], "/nowhere"),
        (["bias=fourier", "device=tpu"], "tpu"),
    ],
)
def test_bad_input_is_told_in_one_line(checkpoint, overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        converted(f"checkpoint={checkpoint}", *overrides)
    assert "\n" not in str(caught.value)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["model.safetensors"]


def test_what_is_no_such_checkpoint_is_told(tmp_path):
    without = save_model(
        create_model("esc", attention="conv_attn", **TINY), tmp_path / "c.safetensors"
    )
    with pytest.raises(InputError, match=r"c.safetensors: this network has no self-attention"):
        converted(f"checkpoint={without}", "bias=fourier")
    with pytest.raises(InputError, match="checkpoint not found"):
        converted("checkpoint=nowhere.pth", "bias=fourier")
    with pytest.raises(InputError, match="give one checkpoint to convert"):
        converted("checkpoint=[a.pth,b.pth]", "bias=fourier")


def test_the_command_line(rough, tmp_path, esc_sr):
    """One line and status 1 where it is refused; -o as `esc-sr upscale` has it."""
    words = ["convert", rough.name, "bias=fourier", "rank=2", "device=cpu"]
    refused = esc_sr(*words, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "nothing was written" in refused.stderr
    done = esc_sr(*words, "force=true", "-o", "it's new.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "it's new.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "it's new.safetensors",
        "rough.safetensors",
    ]


def test_options_for_the_output_are_read_as_of_upscale():
    for given in (["-o", "a b"], ["--output", "a b"], ["--output=a b"], ["-o=a b"]):
        assert with_output(["x.pth", *given, "bias=axial"]) == [
            "x.pth",
            "output='a b'",
            "bias=axial",
        ]
    assert with_output(["-o"]) == ["output=''"]


@pytest.mark.parametrize("attention", ["flash model.attention.kernel.kernel=sdpa", "sdpa", "eager"])
def test_every_command_takes_the_converted_weights(checkpoint, attention, small, tmp_path):
    """`flash` stands for a Fourier bias of rank 16; the weights have their own, of any kind."""
    images = f"images={tmp_path / 'sets' / 'Small' / 'HR'}"
    for overrides in (["bias=fourier", "rank=8"], ["bias=axial"]):
        path = converted(f"checkpoint={checkpoint}", *overrides, images).output
        words = [f"checkpoint={path}", *f"attention={attention}".split()]
        (found,) = evaluate.run(compose_config("evaluate", [*words, *small, "device=cpu"]))
        (plain,) = evaluate.run(compose_config("evaluate", [words[0], *small, "device=cpu"]))
        values = found.sets["Small"].values["psnr_y"]
        assert values == pytest.approx(plain.sets["Small"].values["psnr_y"], abs=1e-4)
        (candidate,) = candidates(compose_config("bench", words))
        kernel = "flash:sdpa" if "flash" in attention else attention
        assert candidate.attention == f"{kernel}+{overrides[0].removeprefix('bias=')}"
        assert candidate.build()(LQ).shape == (1, 3, 22, 34)


def test_upscale_names_the_kernel_behind_a_colon(checkpoint, tmp_path):
    path = converted(f"checkpoint={checkpoint}", "bias=fourier").output
    parse = upscale.parser().parse_args
    options = parse(
        ["x.png", "-o", "y.png", "--checkpoint", str(path), "--attention", "flash:sdpa"]
    )
    network = upscale._load(options)
    assert network.get_submodule("blocks.0.attn").attention.title == "flash:sdpa+fourier"


def test_training_goes_on_from_converted_weights(checkpoint, tmp_path, esc_sr):
    """And Lightning's own checkpoints are converted like any other."""
    path = converted(f"checkpoint={checkpoint}", "bias=fourier", "rank=8").output
    model = [f"model.{key}={value}" for key, value in TINY.items()]
    words = ["experiment=quickstart", *model, f"init_from={path}", "attention=flash"]
    words += ["model.attention.bias.rank=8", "model.attention.kernel.kernel=sdpa"]
    words += ["trainer.max_steps=2", "trainer.accelerator=cpu", "callbacks=checkpoint"]
    words += [f"run_dir={tmp_path / 'run'}", "final_table=false", "trainer.val_check_interval=2"]
    done = esc_sr("train", *words, "logger=none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (last,) = (tmp_path / "run").rglob("last.ckpt")
    assert load_model(last).config["bias"]["rank"] == 8
    table = converted(f"checkpoint={last}", "bias=table").output
    assert table == last.with_name("last_table.safetensors")
    assert read_checkpoint(table).config["bias"] == {"kind": "table"}
    with_other_rank = [word for word in words if "rank" not in word and "run_dir" not in word]
    refused = esc_sr("train", *with_other_rank, cwd=tmp_path)
    assert refused.returncode == 1
    assert "set model.attention.bias.rank=8" in refused.stderr
