"""Loaders that unpickle tensors alone take every file of weights that is written here."""

import pickle
import types

import pytest
import torch

from esc_sr import create_model, load_model, save_model
from esc_sr.config import compose_config
from esc_sr.models.pickles import globals_of
from esc_sr.tasks import export, train
from tiny import NETWORK

TINY = {**NETWORK, "num_heads": 2}
# What spandrel, and with it chaiNNer, lets a pickle ask for, and the storages that torch itself
# knows without asking. "Byte" is what the heads of ESC-Real-M record.
REBUILT = {"collections.OrderedDict", "torch._utils._rebuild_tensor_v2"}
STRICT = REBUILT | {f"torch.{kind}Storage" for kind in ("BFloat16", "Float", "Half", "Byte")}


class Unpickler(pickle.Unpickler):
    """Looks up nothing else, as spandrel's does."""

    def find_class(self, module, name):
        if f"{module}.{name}" not in REBUILT:
            raise pickle.UnpicklingError(f"{module}.{name} is forbidden")
        return super().find_class(module, name)


RESTRICTED = types.SimpleNamespace(
    Unpickler=Unpickler, load=lambda *a, **k: Unpickler(*a, **k).load(), __name__="pickle"
)


@pytest.mark.parametrize("name", ["esc", "esc_fp", "esc_real", "esc_real_m"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_exported_weights(tmp_path, name, precision):
    network = create_model(name, scale=4, **TINY)
    source = save_model(network, tmp_path / "x.safetensors")
    overrides = [f"checkpoint={source}", "format=pth", f"precision={precision}"]
    path = export.run(compose_config("export", [*overrides, "tolerance=0.01"])).output
    assert set(globals_of(path)) <= STRICT
    torch.load(path, weights_only=True)
    content = torch.load(path, pickle_module=RESTRICTED, weights_only=False)
    assert content["params_ema"].keys() == network.state_dict().keys()
    assert load_model(path).title == network.title
    if name == "esc_real_m":  # as the authors record it
        (record,) = (v for n, v in content["params_ema"].items() if n.endswith("MetaUpsample"))
        assert record.tolist() == [2, 3, 4, 16, 3, 48, 4]


def test_a_strict_loader_refuses_other_things(tmp_path):
    torch.save({"a": types.SimpleNamespace()}, tmp_path / "x.pth")
    with pytest.raises(pickle.UnpicklingError, match="SimpleNamespace is forbidden"):
        torch.load(tmp_path / "x.pth", pickle_module=RESTRICTED, weights_only=False)


@pytest.mark.parametrize("name", ["esc", "esc_real_m"])
def test_all_that_training_leaves(tmp_path, name):
    changes = [f"model.{key}={value}" for key, value in TINY.items()]
    run = ["trainer.max_steps=2", "trainer.val_check_interval=2", "data.batch_size=1"]
    rest = ["callbacks=checkpoint", "final_table=false", f"paths.output_dir={tmp_path}"]
    choice = [f"model={name}", "scale=2"]
    train.run(compose_config("train", ["experiment=quickstart", *choice, *changes, *run, *rest]))
    pickled = sorted(tmp_path.rglob("*.ckpt"))
    assert [path.name for path in pickled] == ["best.ckpt", "last.ckpt"]
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".pth", ".pkl")]
    for path in pickled:
        assert set(globals_of(path)) <= STRICT
        assert "optimizer_states" in torch.load(path, weights_only=True)
    assert load_model(tmp_path / "model.safetensors").scale == 2
