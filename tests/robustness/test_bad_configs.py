"""Configurations that are damaged, hostile or mean nothing: one line that names file or key."""

import pytest

from broken import RUN, configs
from tiny import TRAINING

TRAIN = ["train", *TRAINING, "trainer.max_steps=2", "callbacks=none", "logger=none", "run_dir=r"]
TRAIN += ["final_table=false"]


def place(tmp_path, content):
    path = tmp_path / "mine" / "experiment" / "itself.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


@pytest.mark.parametrize("name", configs.SYNTAX)
def test_files_that_are_no_yaml_of_plain_values(attack, tmp_path, name):
    """By the command whose configuration is read fastest; all of them read it alike."""
    content, named = configs.SYNTAX[name]
    place(tmp_path, content)
    attack("compare", "--config-dir=mine", "+experiment=itself", "scale=4", named=named)


def without_experiment(command):
    return [one for one in command if not one.startswith("experiment=")]


# One of each kind; the others take as long.
ONE_OF_EACH = {
    "cycle of two", "unknown resolver", "unknown key", "unknown key below", "unknown default",
    "a default that is itself", "target that is not there", "target that is no callable",
    "target that executes", "recursive flag",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        name if name in ONE_OF_EACH else pytest.param(name, marks=pytest.mark.slow)
        for name in configs.MEANING
    ],
)
def test_experiments_that_mean_nothing_or_harm(attack, tmp_path, name):
    content, named = configs.MEANING[name]
    place(tmp_path, content)
    command = [*without_experiment(TRAIN), "experiment=[quickstart,itself]", "--config-dir=mine"]
    attack(*command, named=named, leaves=RUN)


def key_of(override):
    key, _, value = override.partition("=")
    return value if value == "nowhere" else key.split(".")[-1]


@pytest.mark.parametrize("override", configs.VALUES)
def test_values_of_a_wrong_kind(attack, override):
    attack(*TRAIN, override, named=key_of(override), leaves=RUN)


@pytest.mark.slow
@pytest.mark.parametrize("override", configs.MORE_VALUES)
def test_more_values_of_a_wrong_kind(attack, override):
    # PyTorch's optimizers do not name the value that they refuse: the group must be told then.
    named = "optimizer: " if override.startswith("optimizer.") else key_of(override)
    attack(*TRAIN, override, named="GT" if override.endswith("gt_dir=null") else named, leaves=RUN)


@pytest.mark.parametrize("words", configs.WORDS)
def test_words_that_hydra_does_not_know(attack, words):
    attack("compare", "scale=4", words)


def test_what_they_execute_could_be_seen(tmp_path, monkeypatch):
    """The hostile files do what they say where a loader obeys them."""
    import yaml

    monkeypatch.chdir(tmp_path)
    yaml.unsafe_load(configs.SYNTAX["python object"][0])
    assert (tmp_path / "executed").exists()
