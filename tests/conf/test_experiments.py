"""Recipes that are compared differ in what is compared only."""

import pytest
from omegaconf import OmegaConf

from esc_sr.config import compose_config, conf_dir, instantiate

QUESTIONS = sorted(
    path.stem
    for path in (conf_dir() / "experiment" / "ablation").glob("*.yaml")
    if path.stem != "recipe"
)


def flat(name):
    """Return what an experiment sets, by dotted key."""
    cfg = compose_config("train", [f"experiment={name}", "paths.output_dir=out"])
    leaves = {}

    def walk(node, prefix):
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                leaves[f"{prefix}{key}"] = value

    walk(OmegaConf.to_container(cfg, resolve=True), "")
    return leaves


def test_the_two_recipes_of_similarity_differ_in_the_network_only():
    with_conv_attn, with_attention = flat("similarity_esc"), flat("similarity_esc_attn")
    assert with_conv_attn.keys() == with_attention.keys()
    differing = {key for key, value in with_conv_attn.items() if with_attention[key] != value}
    assert differing == {"model.self_attention_only", "run_dir"}


def asked(name):
    """Return what a question varies, as the command line would."""
    node = OmegaConf.load(conf_dir() / "experiment" / "ablation" / f"{name}.yaml")
    assert node.hydra.mode == "MULTIRUN"
    ((key, values),) = node.hydra.sweeper.params.items()
    return [f"{key}={value}" for value in str(values).split(",")]


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_answer_of_a_question_is_another_network_or_loss(name):
    built = []
    for override in asked(name):
        recipe = f"experiment=[ablation/recipe,ablation/{name}]"
        cfg = compose_config("train", [recipe, override, "paths.output_dir=out"])
        network, loss = instantiate(cfg.model), instantiate(cfg.loss)
        assert cfg.scale == network.scale == 2  # the recipe's
        built.append((network.config, repr(loss)))
    assert len(built) >= 2
    assert all(one not in built[:i] for i, one in enumerate(built))


def test_the_papers_questions_can_be_asked():
    assert set(QUESTIONS) == {
        "attention",
        "window_size",
        "shared_large_kernel",
        "large_kernel_size",
        "dynamic_kernel",
        "partial_dim",
        "geometric_ensemble",
        "num_conv_attn",
        "loss",
    }
