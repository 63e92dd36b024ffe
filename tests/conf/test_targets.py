"""Config and code agree: every file composes, binds to its constructor, and is commented."""

import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError

from esc_sr.config import compose_config, conf_dir, instantiate
from esc_sr.errors import InputError, MissingExtraError
from esc_sr.tasks.networks import takes_attention
from esc_sr.tasks.search import make_plan

CONF = conf_dir()
PRIMARY = sorted(path.stem for path in CONF.glob("*.yaml"))
GROUP_FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml") if path.parent != CONF)
WITHOUT_TARGETS = {"prepare", "bench", "compare", "report", "workspace"}
WITHOUT_TARGETS |= {"info", "import_config", "export"}
# Groups that are lists in the defaults of train.yaml.
LISTS = {"logger"}
# Groups of `esc-sr search`.
OF_SEARCH = {"objectives", "pruner", "sampler", "space"}
# What files leave to the user, so that they can be composed and constructed.
GIVEN = {
    "custom": ["model._target_=esc_sr.models.bicubic.Bicubic"],
    "spandrel": ["model.path=weights.pth"],
}


def override(path: Path) -> str:
    if path.parts[0] == "experiment":  # one group, with folders
        return f"experiment={path.relative_to('experiment').with_suffix('')}"
    group = "/".join(path.parts[:-1])
    return f"{group}=[{path.stem}]" if group in LISTS else f"{group}={path.stem}"


def primary_of(path: Path) -> str:
    if path.parts[0] in OF_SEARCH:
        return "search"
    if path.parts[0] == "hydra":
        return "train" if path.stem == "default" else "evaluate"
    if path.parts[0] == "model":
        # train.yaml would give an attention to networks that take none
        cfg = compose_config("evaluate", [override(path), *GIVEN.get(path.stem, [])])
        return "train" if takes_attention(cfg.model) else "evaluate"
    return "train"


def compose_with(path: Path, *more: str) -> DictConfig:
    primary = primary_of(path)
    overrides = [] if path.parts[0] == "hydra" else [override(path)]
    overrides += GIVEN.get(path.stem, []) if path.parts[0] == "model" else []
    named = {"train": "paths.output_dir=out", "search": "search_dir=out"}
    overrides.append(named.get(primary, "scale=4"))
    return compose_config(primary, [*overrides, *more])


def target_nodes(node: object, where: str = ""):
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield where, node
        for key in node:
            if not OmegaConf.is_missing(node, key):
                yield from target_nodes(node._get_node(key), f"{where}.{key}".strip("."))
    elif OmegaConf.is_list(node):
        for i, item in enumerate(node):
            yield from target_nodes(item, f"{where}[{i}]")


def bind(where: str, node: DictConfig) -> None:
    target = get_object(node["_target_"])
    keys = {key: None for key in node if not str(key).startswith("_")}
    signature = inspect.signature(target)
    try:
        if node.get("_partial_"):
            signature.bind_partial(**keys)
        else:
            signature.bind(**keys)
    except TypeError as error:
        pytest.fail(f"{where} ({node['_target_']}): {error}")


@pytest.mark.parametrize("name", PRIMARY)
def test_every_primary_config_binds(name):
    nodes = list(target_nodes(compose_config(name)))
    assert nodes or name in WITHOUT_TARGETS
    for where, node in nodes:
        bind(where, node)


@pytest.mark.parametrize("path", GROUP_FILES, ids=str)
def test_every_file_of_every_group_composes_and_binds(path):
    for where, node in target_nodes(compose_with(path)):
        bind(where, node)


def test_the_binding_test_can_fail():
    wrong = OmegaConf.create({"_target_": "esc_sr.models.esc.ESC", "scale": 2, "embed_dim": 3})
    with pytest.raises(pytest.fail.Exception, match="embed_dim"):
        bind("model", wrong)


def files(group: str) -> list[Path]:
    return [path for path in GROUP_FILES if path.parts[0] == group]


def test_the_network_of_an_extra_names_it():
    if find_spec("spandrel") is None:
        with pytest.raises(MissingExtraError, match=r"esc-sr\[spandrel\]"):
            instantiate(compose_with(Path("model/spandrel.yaml")).model)


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in (*files("model"), *files("attention"))
        if path.stem != "spandrel"  # needs its extra, and a checkpoint
    ],
    ids=str,
)
def test_every_network_is_constructed(path):
    network = instantiate(compose_with(path).model)
    assert network.scale == 4


@pytest.mark.parametrize("path", files("loss"), ids=str)
def test_every_loss_is_constructed(path):
    loss = instantiate(compose_with(path).loss)
    terms = loss(torch.rand(2, 3, 12, 12), torch.rand(2, 3, 12, 12))
    assert terms
    assert all(term.ndim == 0 and term > 0 for term in terms.values())


@pytest.mark.parametrize("path", files("protocol"), ids=str)
def test_every_protocol_is_constructed_and_named_as_its_file(path):
    (protocol,) = instantiate(compose_with(path).protocol).values()
    assert protocol.name == path.stem
    image = torch.rand(1, 3, 32, 32)
    assert all(value.isfinite() for value in protocol.measure(image, 1 - image).values())


@pytest.mark.parametrize("path", files("metrics"), ids=str)
def test_every_metric_is_constructed_or_names_its_extra(path):
    cfg = compose_with(path)
    if find_spec("torchvision") is None:
        with pytest.raises(MissingExtraError, match=r"esc-sr\[perceptual\]"):
            instantiate(cfg.metrics)
        return
    image = torch.rand(1, 3, 48, 48)
    assert all(metric(image, 1 - image).isfinite() for metric in instantiate(cfg.metrics).values())


@pytest.mark.parametrize("path", files("degradation"), ids=str)
def test_every_degradation_is_constructed(path):
    degradation = instantiate(compose_with(path).degradation)
    assert degradation(torch.zeros(3, 16, 24, dtype=torch.uint8), 4).shape == (3, 4, 6)


@pytest.mark.parametrize("path", [*files("optimizer"), *files("scheduler")], ids=str)
def test_every_optimizer_and_schedule_is_constructed(path):
    cfg = compose_with(path)
    optimizer = instantiate(cfg.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    scheduler = instantiate(cfg.scheduler)(optimizer)
    optimizer.step()
    scheduler.step()
    assert 0 < scheduler.get_last_lr()[0] <= cfg.optimizer.lr


@pytest.mark.parametrize("path", [*files("callbacks"), *files("logger")], ids=str)
def test_every_callback_and_logger_is_constructed(path, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    cfg = compose_with(path)
    cfg.paths.output_dir = str(tmp_path)
    for node in (cfg.callbacks, cfg.logger):
        for name, built in (instantiate(node) or {}).items():
            assert type(built).__name__ == node[name]._target_.split(".")[-1]


@pytest.mark.parametrize("name", ["default", "cpu", "debug"])
def test_trainers_are_constructed(name, tmp_path):
    overrides = ["debug=fast"] if name == "debug" else [f"trainer={name}"]
    cfg = compose_config("train", [*overrides, f"paths.output_dir={tmp_path}"])
    assert instantiate(cfg.trainer)(logger=False).max_steps == cfg.trainer.max_steps


@pytest.mark.parametrize("path", [*files("sampler"), *files("pruner")], ids=str)
def test_every_sampler_and_pruner_is_constructed(path):
    cfg = compose_with(path)
    built = instantiate(cfg[path.parts[0]])
    if path.parts[0] == "sampler":
        wanted = {"search_space": {"a": [1, 2]}} if path.stem == "grid" else {}
        built = built(**wanted, seed=0)
    assert type(built).__name__ == cfg[path.parts[0]]._target_.split(".")[-1]


@pytest.mark.parametrize("path", files("space"), ids=str)
def test_what_every_space_varies_can_be_trained(path):
    plan = make_plan(compose_with(path))
    assert plan.space
    assert plan.trials > 1


def test_the_strategy_of_sharded_training_is_constructed():
    cfg = compose_with(Path("trainer/fsdp.yaml"))
    strategy = instantiate(cfg.trainer.strategy)
    assert strategy.sharding_strategy.name == "FULL_SHARD"
    assert cfg.trainer.gradient_clip_val is None
    assert compose_with(Path("trainer/ddp.yaml")).trainer.num_nodes == 1


@pytest.mark.parametrize("name", ["slurm", "joblib", "submitit_local", "submitit_slurm"])
def test_every_launcher_is_constructed(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"hydra/launcher={name}"], return_hydra_config=True)
    node = cfg.hydra.launcher
    if name != "joblib":
        node.submitit_folder = "logs"  # follows from the folder of a multirun
    assert type(instantiate(node)).__name__ == node._target_.split(".")[-1]
    if name == "slurm":
        assert (node.gpus_per_node, node.max_num_timeout) == (1, 10)
        with pytest.raises(ConfigAttributeError):  # what the plugin does not know
            node.nonsense = 1


@pytest.mark.gpu
def test_the_gpu_trainer_is_constructed(tmp_path):
    cfg = compose_config("train", ["trainer=gpu", f"paths.output_dir={tmp_path}"])
    assert instantiate(cfg.trainer)(logger=False).precision == "bf16-mixed"


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF))
)
def test_every_option_has_a_comment_and_every_file_a_headline(path):
    lines = path.read_text().splitlines()
    prose = [line for line in lines if line.startswith("#") and "@package" not in line]
    assert prose, "no comment that says what this choice is"
    block_indent = None
    previous = ""
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        if block_indent is not None and (not line.strip() or indent > block_indent):
            continue
        block_indent = indent if re.search(r":\s*\|", line) else None
        if re.match(r"\s*[\w.@/-]+:\s+[^\s#]", line):
            commented = " #" in line or previous.strip().startswith("#")
            assert commented, f"{path.name}:{number} has no comment: {line.strip()}"
        previous = line


def test_python_values_reach_constructors_not_omegaconf():
    node = OmegaConf.create({"_target_": "collections.OrderedDict", "a": [1], "b": {"c": 2}})
    built = instantiate(node)
    assert type(built["a"]) is list
    assert type(built["b"]) is dict


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.window_sze=16"],
            "unknown key 'model.window_sze'; did you mean 'model.window_size'",
        ),
        (["trainer.max_stepz=1"], "did you mean 'trainer.max_steps'"),
        (["attention=fast"], "attention/fast.*conv_attn.*eager"),
        (["experiment=nothing"], "experiment/nothing"),
        (["hydra/launcher=nothing"], r"hydra/launcher/nothing.*esc-sr\[sweep\]"),
    ],
)
def test_unknown_keys_and_choices_are_named_with_the_right_ones(overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        compose_config("train", overrides)
    assert "\n" not in str(caught.value)


def test_a_constructor_that_does_not_know_a_key_says_so():
    cfg = compose_config("train", ["+model.depth=3"])
    with pytest.raises(InputError, match="depth"):
        instantiate(cfg.model)
