"""Configurations that are damaged, hostile or mean nothing: files, and words on a command line."""

HEAD = b"# @package _global_\n"

# Files of the user's own, chosen by `--config-dir`: no YAML, or none of plain values.
SYNTAX = {
    "python object": (HEAD + b"seed: !!python/object/apply:os.system ['touch executed']\n", ""),
    "python name": (HEAD + b"seed: !!python/name:os.system\n", ""),
    "python module": (HEAD + b"seed: !!python/module:antigravity\n", ""),
    "python new": (HEAD + b"seed: !!python/object/new:eval [\"open('executed','w')\"]\n", ""),
    "unknown tag": (HEAD + b"seed: !mine 3\n", ""),
    "billion laughs": (
        HEAD
        + b'a0: &a0 ["lol","lol","lol","lol","lol","lol","lol","lol","lol"]\n'
        + b"".join(
            b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)
        ),
        "",
    ),
    "anchor within itself": (HEAD + b"a: &a [*a]\n", ""),
    "mapping within itself": (HEAD + b"a: &a {b: *a}\n", ""),
    "unknown anchor": (HEAD + b"a: *nobody\n", ""),
    "tab": (HEAD + b"model:\n\tdim: 4\n", ""),
    "indentation": (HEAD + b"model:\n  dim: 4\n scale: 3\n", ""),
    "unclosed list": (HEAD + b"sets: [1, 2\n", ""),
    "unclosed quote": (HEAD + b'title: "abc\n', ""),
    "key twice": (HEAD + b"seed: 1\nseed: 2\n", "seed"),
    "two documents": (HEAD + b"seed: 1\n---\nseed: 2\n", ""),
    "nested 350 deep": (HEAD + b"a: " + b"[" * 350 + b"]" * 350 + b"\n", ""),
    "a list": (HEAD + b"- 1\n- 2\n", ""),
    "a number": (b"3\n", ""),
    "binary": (bytes(range(256)) * 4, ""),
    "zeros": (bytes(100), ""),
    "latin 1": (HEAD + "title: Größe\n".encode("latin-1"), ""),
    "UTF-16": ("seed: 1\n".encode("utf-16"), ""),
}  # fmt: skip

# Experiments that are YAML and mean nothing, or harm; the message must name the second.
MEANING = {
    "empty interpolation": (HEAD + b"seed: ${}\n", ""),
    "cycle of two": (HEAD + b"seed: ${scale}\nscale: ${seed}\n", "seed"),
    "cycle of one": (HEAD + b"seed: ${seed}\n", "seed"),
    "cycle of nodes": (HEAD + b"optimizer: ${model}\nmodel: ${optimizer}\n", ""),
    "long chain": (
        HEAD + b"seed: ${x0}\n" + b"".join(b"x%d: ${x%d}\n" % (i, i + 1) for i in range(150)),
        "",
    ),
    "interpolation of nothing": (HEAD + b"seed: ${nothing.at.all}\n", "nothing"),
    "unknown resolver": (HEAD + b"seed: ${execute:'touch executed'}\n", "execute"),
    "interpolation that does not end": (HEAD + b"seed: ${scale\n", ""),
    "environment that is not there": (HEAD + b"seed: ${oc.env:NOT_THERE_AT_ALL}\n", "NOT_THERE"),
    "unknown key": (HEAD + b"sed: 3\n", "sed"),
    "unknown key below": (HEAD + b"model:\n  dimm: 4\n", "dimm"),
    "unknown key far below": (HEAD + b"data:\n  train:\n    crop_sise: 4\n", "crop_sise"),
    "unknown default": (b"# @package _global_\ndefaults:\n  - override /model: nobody\n", "nobody"),
    "defaults that are a number": (b"# @package _global_\ndefaults: 3\n", ""),
    "defaults that hold numbers": (b"# @package _global_\ndefaults: [3, [4]]\n", ""),
    "a default that is itself": (b"# @package _global_\ndefaults:\n  - /experiment: itself\n", ""),
    "target that is not there": (
        HEAD + b"model:\n  _target_: esc_sr.models.esc.ESCC\n", "esc_sr.models.esc.ESCC"
    ),
    "target in no module": (HEAD + b"model:\n  _target_: no_such_module.Class\n", "no_such_module"),
    "target that is a number": (HEAD + b"model:\n  _target_: 3\n", ""),
    "target that is no callable": (HEAD + b"model:\n  _target_: esc_sr.cli.USAGE\n", ""),
    "target that executes": (
        HEAD + b"loss:\n  _target_: os.system\n  command: touch executed\n", "os.system"
    ),
    "target that evaluates": (
        HEAD + b"optimizer:\n  _target_: builtins.eval\n  _args_: [\"open('executed', 'w')\"]\n",
        "builtins.eval",
    ),
    "target in a list": (
        HEAD + b"callbacks:\n  x:\n    _target_: subprocess.Popen\n    args: [touch, executed]\n",
        "subprocess.Popen",
    ),
    "recursive flag": (HEAD + b"model:\n  _recursive_: perhaps\n", ""),
    "partial flag": (HEAD + b"model:\n  _partial_: perhaps\n", ""),
    "arguments by place": (HEAD + b"model:\n  _args_: [1, 2, 3]\n", ""),
}  # fmt: skip

# Values of a wrong type or size for a key of each class; the key must be named.
VALUES = [
    "scale=two", "seed=a", "monitor=val/nothing", "model.dim=0", "model.ffn_ratio=a",
    "optimizer.lr=a", "data.train.gt_dir=nowhere", "data.train.augment=perhaps",
    "trainer.max_steps=a", "compile=perhaps",
]  # fmt: skip
MORE_VALUES = [
    "scale=0", "scale=2.5", "model=nobody", "model.dim=a", "model.window_size=[8]",
    "model.num_heads=7", "attention=nobody", "data.batch_size=0", "data.train.crop_size=100000",
    "trainer.precision=17", "ckpt_path=nowhere.ckpt", "init_from=nowhere.pth", "scale=null",
    "scale=[2,3]", "scale=-1", "seed=-1", "seed=1.5", "seed=null", "monitor=null", "monitor=[a]",
    "model.dim=-4", "model.dim=null", "model.dim=1e400", "model.dim=4.5", "model.window_size=0",
    "model.window_size=[8,8,8]", "model.window_size=a", "model.num_heads=0",
    "model.num_blocks=-1", "model.num_blocks=a", "model.partial_dim=17",
    "model.large_kernel_size=4", "model.geometric_ensemble=perhaps", "attention=null",
    "optimizer.lr=-1", "optimizer.betas=3", "optimizer.betas=[2,2]", "optimizer.weight_decay=a",
    "scheduler.warmup_steps=a", "scheduler=nobody", "loss=nobody", "data.batch_size=a",
    "data.batch_size=2.5", "data.num_workers=-1", "data.train.crop_size=0",
    "data.train.crop_size=a", "data.train.gt_dir=null", "data.train.gt_dir=[a,b]",
    "data.train.on_corrupt=perhaps", "data.train=null", "data.val.sample=3", "data=nobody",
    "trainer.max_steps=-2", "trainer.val_check_interval=0", "trainer.val_check_interval=a",
    "trainer.accelerator=abacus", "trainer.devices=a", "trainer.devices=-3", "trainer.strategy=a",
    "trainer.gradient_clip_val=a", "trainer.log_every_n_steps=0", "trainer.nothing=3",
    "trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=a", "protocol=null",
    "callbacks=nobody", "callbacks=3", "callbacks.best.mode=up", "callbacks.ema.decay=2",
    "callbacks.ema.decay=a", "logger=nobody", "ckpt_path=3", "init_from=[a]",
    "skip_finished=perhaps", "channels_last=a", "final_table=perhaps",
    "paths.output_dir=null", "paths.data_dir=3.5", "run_dir=null", "degradation=nobody",
]  # fmt: skip

# Words that Hydra's grammar does not know, or that mean nothing.
WORDS = [
    "scale", "=3", "scale=[1", "scale={a:1", "scale='1", 'scale="1', "scale==3", "scale=3=4",
    "a b=3", "+scale=3", "~scale=3", "~nothing", "++", "scale=${", "scale=${nothing}",
    "scale=a,b", "scale=1,2", "scale=range(1,3)", "scale=glob(*)", "scale=choice()",
    "hydra@nowhere=quiet", "hydra@=quiet", "hydra/launcher=nobody", "--nothing",
    "--config-dir=nowhere", "--config-name=nobody", "-c", 'scale=\x00', "scale=😀=", "sed=3",
    "wdth=3", "formats.x=3", "filter.a.b=3", "scale.below=3", "--cfg=nothing", "--multirun=3",
    "hydra.mode=perhaps", "hydra.nothing=3",
]  # fmt: skip
