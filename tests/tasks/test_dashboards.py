"""What W&B and TensorBoard are told, read back from their files; nothing is sent."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
import wandb
import yaml
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from esc_sr.config import compose_config
from esc_sr.models.checkpoints import read_checkpoint
from esc_sr.runs.record import read_record
from esc_sr.tasks import train, workspace
from tiny import TRAINING

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *TRAINING,
    "trainer.log_every_n_steps=1",
]
BARE = ["callbacks=none", "final_table=false", "trainer.max_steps=1"]
QUIET = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*LeafSpec.*",
    "ignore:Checkpoint directory .* exists and is not empty",
)
pytestmark = QUIET


@contextmanager
def listening():
    """Count the connections to a port, through which all traffic to servers would go."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                heard.append(connection.recv(100))
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "WANDB_BASE_URL")
        yield heard, dict.fromkeys(names, address)


def esc_sr(folder, variables, *arguments):
    """Run `esc-sr train` in this process, from another folder.

    As where a launcher starts the jobs of a multirun, the command line of the process is another.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["worker"])
        for name, value in variables.items():
            patch.setenv(name, value)
        train.main(list(arguments))


@pytest.fixture(scope="module")
def home(tmp_path_factory, wandb_variables):
    """A finished run with every logger, and a record of who was asked for a connection."""
    folder = tmp_path_factory.mktemp("home")
    with listening() as (heard, proxies):
        esc_sr(
            folder,
            wandb_variables | proxies,
            *TINY,
            "attention=eager",
            "seed=1",
            "trainer.max_steps=4",
            "logger=[csv,wandb,tensorboard]",
            "logger.wandb.mode=offline",
            "logger.wandb.log_model=true",
            "logger.wandb.tags=[night]",
            "+hub_token=hush-hush",  # of whatever a user adds
            "run_dir=run",
        )
        (folder / "heard").write_text(repr(heard))
    return folder


@pytest.fixture(scope="module")
def logged(home, read_wandb):
    return read_wandb(home / "run")


@pytest.fixture(scope="module")
def events(home):
    return EventAccumulator(str(home / "run" / "tensorboard"), {"images": 0}).Reload()


def test_offline_nothing_is_sent(home, logged):
    assert (home / "heard").read_text() == "[]"
    assert "exit" in logged.kinds


def test_the_listener_would_hear(tmp_path):
    with listening() as (heard, proxies):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("http_proxy", proxies["http_proxy"])
            import urllib.request

            with pytest.raises(OSError, match=r".+"):
                urllib.request.urlopen("http://api.wandb.example", timeout=5)
        assert heard


def test_the_run_is_named_by_its_overrides(logged):
    assert re.fullmatch(r"quickstart-eager-.+-seed=1-[0-9a-f]{6}", logged.run.display_name)
    assert len(logged.run.display_name) <= 64
    assert list(logged.run.tags) == ["night"]  # given, so not made up
    assert logged.run.run_group == ""
    assert logged.run.project == "esc_sr"
    assert logged.exit_code == 0


def test_the_configuration_and_what_it_was_computed_with_are_there(home, logged):
    record = read_record(home / "run")
    assert logged.config["model"] == record.config["model"]
    assert logged.config["optimizer"]["lr"] == 3e-3
    assert logged.config["run/attention"] == "eager"
    assert logged.config["run/experiment"] == "quickstart"
    assert "attention=eager" in logged.config["run/overrides"]
    assert logged.config["run/commit"] == record.repository["commit"]
    assert logged.config["run/dirty"] == record.repository["dirty"]
    assert logged.config["run/config_hash"] == record.config_hash
    assert logged.config["run/versions"]["lightning"]
    assert "seed" not in logged.config["run/variant"]


def test_metrics_costs_and_pictures_stand_over_optimizer_steps(home, logged):
    assert logged.metrics["*"] == "trainer/global_step"
    keys = {key for row in logged.history for key in row}
    assert {
        "train/loss",
        "train/loss/l1",
        "train/grad_norm",
        "lr-AdamW",
        "val/psnr_y",
        "val/sample/psnr_y",
        "val/sample/ssim_y",
        "perf/latency_ms",
        "perf/inference_peak_memory_mib",
        "perf/peak_memory_mib",
        "perf/samples_per_sec",
    } <= keys
    assert all("trainer/global_step" in row for row in logged.history)
    shown = [row for row in logged.history if "val/sample/images/filenames" in row]
    assert len(shown) == 2  # validations
    assert shown[0]["val/sample/images/captions"][0] == "egg-basket"
    for name in shown[0]["val/sample/images/filenames"]:
        Image.open(logged.folder / "files" / name).verify()


def test_the_summary_ends_with_the_best_and_what_it_costs(home, logged):
    record = read_record(home / "run")
    assert logged.summary["best/psnr_y"] == pytest.approx(record.best_score)
    values = record.results["sample"]["psnr_y"]
    assert logged.summary["best/sample/psnr_y"] == pytest.approx(sum(values) / len(values))
    assert logged.summary["bicubic/sample/psnr_y"] == pytest.approx(26.43, abs=0.01)
    assert logged.summary["model/params_k"] == record.params_k
    assert logged.summary["model/macs_g"] == record.macs_g
    assert logged.summary["perf/latency_ms"] == record.measured["perf/latency_ms"]


def test_the_table_has_every_image(home, logged):
    (row,) = [row for row in logged.history if "final/images/path" in row]
    table = json.loads((logged.folder / "files" / row["final/images/path"]).read_text())
    assert table["columns"] == [
        "set", "image", "psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y",
    ]  # fmt: skip
    results = read_record(home / "run").results["sample"]
    assert [line[:3] for line in table["data"]] == [
        ["sample", image, value]
        for image, value in zip(results["images"], results["psnr_y"], strict=True)
    ]


def test_the_best_checkpoint_is_an_artifact_that_says_what_it_is(home, logged):
    (model,) = [one for one in logged.artifacts if one.type == "model"]
    assert model.name == f"model-{logged.run.run_id}"
    assert "best" in model.aliases
    (entry,) = model.manifest.contents
    assert entry.path == "best.ckpt"
    staged = read_checkpoint(Path(entry.local_path)).state_dict
    best = read_checkpoint(home / "run" / "checkpoints" / "best.ckpt").state_dict
    assert staged.keys() == best.keys()
    metadata = json.loads(model.metadata)
    assert metadata["network"] == "ESC"
    assert metadata["scale"] == 2
    assert metadata["best/psnr_y"] == pytest.approx(logged.summary["best/psnr_y"])


def test_wandb_gathers_nothing_by_itself(home, logged):
    assert not {"environment", "stats", "output_raw", "output"} & logged.kinds
    assert logged.run.host == ""
    assert not logged.run.HasField("git")
    allowed = re.compile(r"media/(images/val/sample|table/final)/")
    assert logged.files
    assert all(allowed.match(name) for name in logged.files)


def test_the_key_is_nowhere(home, wandb_variables):
    key = wandb_variables["WANDB_API_KEY"].encode()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if key in path.read_bytes()]


def test_secrets_of_the_configuration_reach_no_dashboard(home, logged):
    assert logged.config["hub_token"] == "***"
    assert "+hub_token=***" in logged.config["run/overrides"]
    for folder in ("wandb", "tensorboard"):
        files = [path for path in (home / "run" / folder).rglob("*") if path.is_file()]
        assert not [path for path in files if b"hush-hush" in path.read_bytes()]


def test_tensorboard_has_the_same_numbers_and_pictures(events, logged):
    tags = events.Tags()
    assert {"train/loss", "val/sample/psnr_y", "perf/latency_ms"} <= set(tags["scalars"])
    assert tags["images"] == ["val/sample/images"]
    assert len(events.Images("val/sample/images")) == 2
    losses = [row["train/loss"] for row in logged.history if "train/loss" in row]
    assert [one.value for one in events.Scalars("train/loss")] == pytest.approx(losses)
    (best,) = events.Scalars("best/psnr_y")
    assert best.value == pytest.approx(logged.summary["best/psnr_y"])
    assert best.step == 4


def hparams(events, tag):
    content = events.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    return HParamsPluginData.FromString(content)


def test_the_tab_hparams_is_a_table_of_scalars_and_results(events):
    values = hparams(events, "session_start_info").session_start_info.hparams
    assert values["attention"].string_value == "eager"
    assert values["model.dim"].number_value == 16
    assert values["seed"].number_value == 1
    assert values["optimizer.lr"].number_value == pytest.approx(3e-3)
    assert not [key for key in values if "_target_" in key or key.startswith(("paths", "logger"))]
    infos = hparams(events, "experiment").experiment.metric_infos
    columns = [info.name.tag for info in infos]
    assert columns[:3] == ["best/psnr_y", "best/sample/psnr_y", "best/sample/ssim_y"]
    assert set(columns) <= set(events.Tags()["scalars"])  # every column is filled
    assert "hp_metric" not in events.Tags()["scalars"]


def test_one_event_file_holds_it_all(home):
    assert len(list((home / "run" / "tensorboard").glob("events.*"))) == 1
    whole = OmegaConf.load(home / "run" / "tensorboard" / "hparams.yaml")
    assert whole.model.dim == 16


def test_a_resumed_run_goes_on_with_the_same_wandb_run(home, tmp_path, wandb_variables, logged):
    arguments = [*TINY, "callbacks=checkpoint", "final_table=false", "logger=wandb"]
    arguments += ["logger.wandb.mode=offline", "run_dir=run"]
    ids = []
    for more in (["trainer.max_steps=2"], ["trainer.max_steps=3", "ckpt_path=last"]):
        esc_sr(tmp_path, wandb_variables, *arguments, *more)
        ids.append((tmp_path / "run" / "wandb_run_id").read_text())
    assert ids[0] == ids[1] != (home / "run" / "wandb_run_id").read_text()
    files = {path.name for path in (tmp_path / "run").rglob("*.wandb")}
    assert files == {f"run-{ids[0].strip()}.wandb"}
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 2


def test_jobs_of_a_multirun_share_a_group_and_are_named_by_what_differs(
    tmp_path, wandb_variables, read_wandb
):
    esc_sr(
        tmp_path,
        wandb_variables,
        "-m",
        *TINY,
        *BARE,
        "logger=[wandb,tensorboard]",
        "logger.wandb.mode=offline",
        "logger.wandb.project=ablation",
        "attention=sdpa,eager",
        "seed=3",
        "hydra.sweep.dir=night",
    )
    first, second = (read_wandb(tmp_path / "night" / job).run for job in "01")
    assert (first.display_name, second.display_name) == ("quickstart-sdpa", "quickstart-eager")
    assert first.run_group == second.run_group == "quickstart-night"
    assert list(second.tags) == ["quickstart", "esc", "eager", "sample", "x2"]
    assert first.run_id != second.run_id
    assert first.project == "ablation"


def test_a_run_that_fails_ends_its_wandb_run_so(tmp_path, wandb_variables, read_wandb):
    with pytest.raises(SystemExit):
        esc_sr(
            tmp_path, wandb_variables, *TINY, "callbacks=images", "callbacks.images.sets=[Set5]",
            "trainer.max_steps=2", "logger=wandb", "logger.wandb.mode=offline", "run_dir=run",
            "logger.wandb.name=mine",
        )  # fmt: skip
    found = read_wandb(tmp_path / "run")
    assert found.exit_code == 1
    assert found.run.display_name == "mine"
    assert wandb.run is None  # the next one of this process does not go on with it


def test_disabled_wandb_writes_and_sends_nothing(tmp_path, wandb_variables):
    with listening() as (heard, proxies):
        esc_sr(
            tmp_path, wandb_variables | proxies, *TINY, *BARE, "final_table=true", "logger=wandb",
            "logger.wandb.mode=disabled", "logger.wandb.log_model=true", "run_dir=run",
        )  # fmt: skip
        assert heard == []
    assert not list(tmp_path.rglob("*.wandb"))
    assert not (tmp_path / "run" / "wandb_run_id").exists()


def test_without_its_logger_wandb_is_not_even_imported(tmp_path):
    code = (
        "import sys; from esc_sr.tasks.train import main; main(sys.argv[1:]);"
        "print('imported', *(name for name in sys.modules if name.split('.')[0] == 'wandb'))"
    )
    arguments = [*TINY, *BARE, "logger=[csv,tensorboard]", "run_dir=run"]
    with listening() as (heard, proxies):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env={**os.environ, **proxies},
            capture_output=True,
            text=True,
        )
        assert heard == []
    assert done.returncode == 0, done.stderr
    assert "imported\n" in done.stdout


SWEEP = ROOT / "docs" / "examples" / "wandb_sweep.yaml"


def test_the_sweep_of_agents_names_overrides_that_compose_and_a_metric_that_is_logged(logged):
    sweep = yaml.safe_load(SWEEP.read_text())
    command = sweep["command"]
    assert command[-1] == "${args_no_hyphens}"
    fixed = [word for word in command[command.index("train") + 1 :] if not word.startswith("$")]
    for pick in (0, -1):
        given = [f"{key}={_picked(node, pick)}" for key, node in sweep["parameters"].items()]
        own = [word for word in fixed if not word.startswith("run_dir=")]
        cfg = compose_config("train", [*own, *given, "paths.output_dir=out"])
        assert "wandb" in cfg.logger
        assert cfg.monitor == sweep["metric"]["name"]
    assert any(sweep["metric"]["name"] in row for row in logged.history)
    assert sweep["metric"]["goal"] == "maximize"
    every = cfg.trainer.val_check_interval
    assert sweep["early_terminate"]["min_iter"] * every <= cfg.trainer.max_steps


# wandb leaves the trial's file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_trial_of_an_agent_is_the_run_that_the_server_knows(
    tmp_path, wandb_variables, read_wandb
):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load(SWEEP.read_text())
    drawn = {key: {"value": _picked(node, 0)} for key, node in sweep["parameters"].items()}
    words = create_sweep_command_args({"args": drawn})["args_no_hyphens"]
    fixed = create_sweep_command(sweep["command"])[2:-1]
    config = tmp_path / "trial.yaml"
    config.write_text(yaml.safe_dump({"wandb_version": 1, **drawn}))
    agent = {
        "WANDB_RUN_ID": "trial1",
        "WANDB_SWEEP_ID": "sweep1",
        "WANDB_SWEEP_PARAM_PATH": str(config),
        "WANDB_MODE": "offline",
    }
    wandb.teardown()  # it has read the environment of earlier runs
    try:
        esc_sr(tmp_path, wandb_variables | agent, *fixed, *words, *BARE, "logger=wandb")
    finally:
        wandb.teardown()
    found = read_wandb(tmp_path / "runs" / "agents" / "trial1")
    assert (found.run.run_id, found.run.sweep_id) == ("trial1", "sweep1")
    assert found.run.display_name == "quickstart-sdpa-max_steps=1-lr=0.0003-window_size=8-seed=0"
    assert found.config["optimizer"]["lr"] == 3e-4


def _picked(node, pick):
    if "value" in node:
        return node["value"]
    return node["values"][pick] if "values" in node else node[("min", "max")[pick]]


def named(spec):
    """Every key that panels, columns and groups of a workspace name, without its section."""
    found = {"summary": set(), "config": set(), "history": set()}

    def walk(node, name=""):
        if isinstance(node, dict):
            if node.get("section") in ("config", "summary"):
                found[node["section"]].add(node["name"])
            for key, value in node.items():
                walk(value, key)
        elif isinstance(node, list):
            for value in node:
                walk(value, name)
        elif isinstance(node, str):
            section, colon, key = node.partition(":")
            if colon and section in found:
                found[section].add(key)
            elif name in ("metrics", "mediaKeys", "xAxis") and node != "_step":
                found["history"].add(node)

    walk(spec)
    return found


@pytest.fixture(scope="module")
def laid_out(home):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, about its first version
        pytest.importorskip("wandb_workspaces.reports.v2", reason="pip install 'esc-sr[wandb]'")
    place = home / "workspace.json"
    cfg = compose_config("workspace", [f"runs=[{home / 'run'}]", f"output={place}"])
    content = workspace.run(cfg)
    assert json.loads(place.read_text()) == content
    return content


def test_every_key_of_the_workspace_is_logged(laid_out, logged):
    keys = named(laid_out["spec"])
    history = {key for row in logged.history for key in row}
    pictures = {key.removesuffix("/filenames") for key in history if key.endswith("/filenames")}
    assert keys["history"] >= {"val/sample/psnr_y", "train/loss", "lr-AdamW", "val/sample/images"}
    assert keys["history"] <= history | pictures
    assert keys["summary"] >= {"best/sample/psnr_y", "perf/latency_ms"}
    assert keys["summary"] <= set(logged.summary)
    config = {key.partition(".value")[0] for key in keys["config"]}
    assert config >= {"run/attention", "run/variant", "seed"}
    assert config <= set(logged.config)
    colours = unquote(json.dumps(laid_out["spec"]["section"]["customRunColors"]))
    assert logged.config["run/variant"] in colours
    assert "final/images" in json.dumps(laid_out)
    assert "final/images/path" in logged.summary


def test_the_workspace_is_of_the_project_of_the_runs(laid_out):
    assert (laid_out["entity"], laid_out["project"], laid_out["name"]) == ("", "esc_sr", "esc_sr")
