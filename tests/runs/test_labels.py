"""Names, groups and tags say what a run is, and nothing that is nobody's business."""

import re

import pytest

from esc_sr.runs.labels import labels, labels_of, override_key
from esc_sr.runs.record import RunRecord

CHOICES = {"model": "esc_lt", "attention": "sdpa", "data": "df2k", "experiment": None}
QUICK = {**CHOICES, "model": "esc", "experiment": "quickstart", "attention": "eager"}


@pytest.mark.parametrize(
    ("overrides", "choices", "name", "variant"),
    [
        (
            ["model=esc_lt", "model.window_size=16", "seed=1"],
            CHOICES,
            "esc_lt-window_size=16-seed=1",
            "esc_lt-window_size=16",
        ),
        (
            ["seed=1", "model.dim=32", "attention=eager", "experiment=quickstart"],
            QUICK,
            "quickstart-eager-dim=32-seed=1",
            "quickstart-eager-dim=32",
        ),
        ([], CHOICES, "esc_lt", "esc_lt"),
        (["optimizer.lr=0.00031415926"], CHOICES, "esc_lt-lr=0.0003142", "esc_lt-lr=0.0003142"),
        (["+model.width=32"], CHOICES, "esc_lt-width=32", "esc_lt-width=32"),
        (
            ["trainer.gradient_clip_val=null"],
            CHOICES,
            "esc_lt-gradient_clip_val=null",
            "esc_lt-gradient_clip_val=null",
        ),
        (["~attention"], CHOICES, "esc_lt-no_attention", "esc_lt-no_attention"),
        (
            ["attention/bias@model.attention.bias=fourier"],
            {**CHOICES, "attention/bias@model.attention.bias": "fourier"},
            "esc_lt-fourier",
            "esc_lt-fourier",
        ),
        (
            ["data.train.crop_size=48", "data.val.crop_size=64"],
            CHOICES,
            "esc_lt-data.train.crop_size=48-data.val.crop_size=64",
            "esc_lt-data.train.crop_size=48-data.val.crop_size=64",
        ),
    ],
)
def test_a_name_is_made_of_what_matters(overrides, choices, name, variant):
    found = labels(overrides, choices, 4)
    assert (found.name, found.variant) == (name, variant)


@pytest.mark.parametrize(
    "override",
    [
        "run_dir=runs/mine",
        "paths.data_dir=/home/me",
        "data.train.gt_dir=photos",
        "init_from=x2.safetensors",
        "ckpt_path=last",
        "logger=[csv,wandb]",
        "logger.wandb.project=secret_project",
        "callbacks.images.num_images=1",
        "hydra.sweep.dir=elsewhere",
        "trainer=gpu",
        "trainer.devices=2",
        "data.num_workers=8",
        "skip_finished=true",
        "+data.api_key=abc",
        "+data.token=***",
        "+model.weights='~/me/x.pth'",
        "+model.name=${oc.env:HOME}",
        "metrics=null",
        "~callbacks.images",
        "~logger",
    ],
)
def test_folders_secrets_and_onlookers_stay_out_of_names(override):
    choices = {**CHOICES, "trainer": "gpu", "metrics": None}
    assert labels([override], choices).name == "esc_lt"
    assert labels([override], choices).variant == "esc_lt"


def test_tags_are_what_was_chosen_and_the_scale():
    assert labels([], QUICK, 2).tags == ("quickstart", "esc", "eager", "df2k", "x2")
    assert labels([], {"model": "esc"}).tags == ("esc",)


def test_runs_of_a_multirun_are_named_by_what_differs():
    common = ["experiment=quickstart", "model.dim=16"]
    swept = ["attention=eager", "seed=2"]
    found = labels([*common, *swept], QUICK, common=common, group="quickstart-night")
    assert found.name == "quickstart-eager-seed=2"
    assert found.variant == "quickstart-eager-dim=16"
    assert found.group == "quickstart-night"
    # where nothing differs, everything is told
    assert labels(common, QUICK, common=common).name == "quickstart-dim=16"


def test_long_names_are_cut_and_still_differ():
    many = [f"model.part_{index}={index}" for index in range(20)]
    names = {labels([*many, f"model.last={n}", "seed=1"], CHOICES).name for n in range(3)}
    assert len(names) == 3
    for name in names:
        assert len(name) <= 64
        assert re.fullmatch(r"esc_lt(-part_\d+=\d+)+-last=\d-seed=1-[0-9a-f]{6}", name)


def test_names_hold_no_signs_that_mean_something_elsewhere():
    odd = ["model.sizes=[1, 2]", "model.text='a b;c<d>\"e\"'"]
    assert labels(odd, CHOICES).name == "esc_lt-sizes=1+2-text=ab_c_d_e"


def test_a_run_without_a_command_line_has_no_name_but_a_variant():
    def record(seed, lr):
        config = {"seed": seed, "scale": 2, "optimizer": {"lr": lr}}
        return RunRecord(state="running", config=config, config_hash=str(seed))

    found = labels_of(record(0, 1e-3))
    assert (found.name, found.group, found.tags) == (None, None, ())
    assert found.variant == labels_of(record(1, 1e-3)).variant
    assert found.variant != labels_of(record(0, 1e-4)).variant


def test_a_record_of_a_command_line_is_labelled_by_it():
    record = RunRecord(
        state="running",
        config={"scale": 3},
        config_hash="0",
        overrides=["attention=eager"],
        choices={"model": "esc", "attention": "eager", "logger": ["csv"], "debug": None},
    )
    assert labels_of(record).name == "esc-eager"
    assert re.fullmatch(r"esc-eager-[0-9a-f]{6}", labels_of(record).variant)


def test_variants_that_names_cannot_tell_apart_are_told_apart():
    def variant(seed, start):
        config = {"scale": 2, "seed": seed, "init_from": start}
        record = RunRecord(state="running", config=config, config_hash="0", overrides=[])
        record.overrides = [f"seed={seed}", f"init_from={start}"]
        return labels_of(record).variant

    assert variant(0, "a.ckpt") == variant(1, "a.ckpt") != variant(0, "b.ckpt")


def test_tags_of_a_record():
    record = RunRecord(
        state="running",
        config={"scale": 3},
        config_hash="0",
        overrides=["attention=eager"],
        choices={"model": "esc", "attention": "eager", "logger": ["csv"], "debug": None},
    )
    assert labels_of(record).tags == ("esc", "eager", "x3")


def test_keys_of_overrides():
    assert override_key("~data") == "data"
    assert override_key("data.val.Set5@x=1") == "data.val.Set5"
