from omegaconf import OmegaConf

from esc_sr.config import compose_config
from esc_sr.runs.fingerprint import fingerprint, relevant


def config(*overrides, output_dir="out"):
    cfg = compose_config(
        "train", ["experiment=quickstart", *overrides, f"paths.output_dir={output_dir}"]
    )
    return OmegaConf.to_container(cfg, resolve=True)


def of(*overrides, **options):
    return fingerprint(config(*overrides), **options)


def test_where_a_run_writes_and_who_looks_on_do_not_matter():
    same = fingerprint(config())
    assert fingerprint(config(output_dir="/elsewhere")) == same
    for override in (
        "run_dir=mine",
        "logger=[csv,tensorboard]",
        "paths.runs_dir=others",
        "data.num_workers=3",
        "callbacks.latency.lq_size=[8,8]",
        "~callbacks.images",
        "~callbacks.guard",
        "callbacks=[default,spikes]",
        "skip_finished=true",
        "ckpt_path=last",
    ):
        assert of(override) == same, override


def test_what_changes_the_result_does():
    hashes = {
        of(),
        of("seed=1"),
        of("attention=eager"),
        of("optimizer.lr=1"),
        of("ema_decay=0.5"),
        of("~callbacks.ema"),
        of("callbacks.ema.warmup=true"),
        of("callbacks.guard.policy=skip"),
        of("trainer.precision=bf16-mixed"),
        of("data.train.crop_size=16"),
        of(files={"init_from": "0123"}),
    }
    assert len(hashes) == 11


def test_seeds_can_be_left_out():
    assert of("seed=1", seeds=False) == of("seed=2", seeds=False) != of()
    assert "data.seed" not in relevant(config(), seeds=False)


def test_paths_within_the_run_are_told_as_such():
    assert relevant(config(output_dir="/a/b"))["trainer.default_root_dir"] == "RUN"
    kept = relevant(config(output_dir="/a/b"))["callbacks.checkpoint_last.dirpath"]
    assert kept == "RUN/checkpoints"


def test_a_record_from_before_the_guard_and_the_warm_up_is_the_same_run():
    today = config()
    before = config("~callbacks.guard", "~callbacks.ema.warmup")
    assert before["callbacks"]["ema"].keys() < today["callbacks"]["ema"].keys()
    before["callbacks"]["ema"]["_target_"] = "lightning.pytorch.callbacks.EMAWeightAveraging"
    assert fingerprint(before) == fingerprint(today)
