"""Recipes that are compared differ in what is compared only."""

from omegaconf import OmegaConf

from esc_sr.config import compose_config


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
