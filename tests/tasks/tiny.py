"""The smallest network and training that tests of commands use."""

# Options of `create_model("esc", …)`: a network of a few thousand weights.
NETWORK = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 1, "window_size": 8}
MODEL = [f"model.{name}={value}" for name, value in NETWORK.items()]

# `esc-sr train` with it on the packaged photographs; how long is for each test to say.
TRAINING = [
    "experiment=quickstart",
    *MODEL,
    "data.train.crop_size=16",
    "data.batch_size=2",
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=2",
]
