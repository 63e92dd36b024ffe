"""Hostile names, pickles, cells and addresses; secrets; and no network unless asked."""

import ast
import csv
import html.parser
import ipaddress
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import open_dict
from PIL import Image

import esc_sr as package
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.files import file_name, write_atomically
from esc_sr.locking import LOCK, locked
from esc_sr.reporting.page import element
from esc_sr.runs.redaction import hidden
from esc_sr.tasks import train
from tiny import TRAINING

SRC = Path(package.__file__).parent
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
TINY = [*TRAINING, "trainer.max_steps=1", "trainer.val_check_interval=1", "final_table=false"]


# What is unpickled

FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load", "dill.loads",
    "marshal.load", "marshal.loads", "shelve.open", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "torch.export.load", "torch.jit.load", "torch.hub.load", "eval", "exec",
    "os.system", "os.popen",
}  # fmt: skip


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangerous_calls(source):
    """Names of calls that run what a file says, or a shell, in a program."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        given = {key.arg: getattr(key.value, "value", None) for key in node.keywords}
        if name in FORBIDDEN:
            found.append(name)
        if name in ("torch.load", "trainer.fit", "trainer.test", "trainer.validate"):
            found += [] if given.get("weights_only") is True else [name]
        if name in ("np.load", "numpy.load") and given.get("allow_pickle"):
            found.append(name)
        if given.get("shell"):
            found.append(f"{name}(shell)")
    return found


def test_nothing_that_a_file_says_is_run():
    files = {str(path.relative_to(SRC)): path for path in SRC.rglob("*.py")}
    assert len(files) > 200
    found = {name: dangerous_calls(path.read_text("utf-8")) for name, path in files.items()}
    # It unpickles; the program that `esc-sr export` checks is the one that it has just written.
    assert {name: calls for name, calls in found.items() if calls} == {
        os.path.join("export", "torch_program.py"): ["torch.export.load"]
    }


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.loads(x)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(x, Loader=Loader)",
        "trainer.fit(module)",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_search_for_such_calls_finds_them(source):
    assert dangerous_calls(source)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_a_checkpoint_to_resume_from_is_not_run(tmp_path):
    marker, path = tmp_path / "was here", tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "loops": Evil(marker)}, path)
    with pytest.raises(InputError, match="never unpickled"):
        run(tmp_path / "run", f"ckpt_path={path}")
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the file is hostile


def run(folder, *overrides, change=None):
    cfg = compose_config("train", [*TINY, *overrides, f"paths.output_dir={folder}"])
    if change is not None:
        with open_dict(cfg):
            change(cfg)
    return train.run(cfg)


# Where is written


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "../x", "/etc/x", "a/../../x", "..\\x", "a\0b", "~", ".hidden", "a\nb", "-rf"],
)
def test_any_name_is_one_part_of_a_path(tmp_path, name):
    path = tmp_path / "out" / file_name(name)
    assert path.resolve().parent == (tmp_path / "out").resolve()
    assert path.name == file_name(name) != ""


@pytest.mark.parametrize("name", ["/ABSOLUTE/evil", "a/b", "~"])
def test_pictures_of_a_validation_set_stay_in_the_run_folder(tmp_path, name):
    """A set called by a path led out of the folder of the pictures, of the run and beyond."""
    folder = tmp_path / "a" / "b" / "run"
    name = name.replace("/ABSOLUTE", str(tmp_path / "elsewhere"))

    def change(cfg):
        cfg.data.val = {name: cfg.data.val["sample"]}

    run(folder, "callbacks=[images]", change=change)
    pictures = list(tmp_path.rglob("*.png"))
    assert len(pictures) == 3
    assert all(path.parents[1] == folder / "images" for path in pictures)


@pytest.mark.parametrize("name", ["../../../evil", "..", ""])
def test_a_set_that_cannot_be_logged_is_refused(tmp_path, name):
    """It was a KeyError of torch, with a traceback."""

    def change(cfg):
        cfg.data.val = {name: cfg.data.val["sample"]}

    with pytest.raises(InputError, match="a validation set cannot be called"):
        run(tmp_path / "run", change=change)
    assert not list(tmp_path.rglob("*.png"))


@pytest.fixture
def benchmark_set(tmp_path):
    """Two images of a set, one called like a formula."""
    folder = tmp_path / "sets" / "mine" / "HR"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    for name in ("=1+2", "b"):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder.parent


@pytest.mark.parametrize("by", ["name", "absolute path", "relative path"])
def test_results_of_a_set_stay_in_the_output_folder(tmp_path, esc_sr, benchmark_set, by):
    """A set named by an absolute path had its enlarged images written beside its own."""
    names = {"name": "mine", "absolute path": benchmark_set, "relative path": "../sets/mine"}
    root = tmp_path / "sets" if by != "relative path" else tmp_path / "work"
    (tmp_path / "work").mkdir()
    before = files_below(tmp_path)
    done = esc_sr(
        "evaluate",
        "model=bicubic",
        "scale=2",
        f"sets=['{names[by]}']",
        f"benchmark_dir={root}",
        f"output_dir={tmp_path / 'out'}",
        "save_images=true",
        cwd=tmp_path / "work",
    )
    assert done.returncode == 0, done.stderr
    new = files_below(tmp_path) - before
    assert len([path for path in new if path.endswith(".png")]) == 2
    assert {path.split("/")[0] for path in new} == {"out"}
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["'=1+2", "b"]


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_link_in_the_place_of_the_lock_is_refused(tmp_path):
    """What it leads to would be emptied."""
    (tmp_path / "precious.txt").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious.txt")
    with (
        pytest.raises(InputError, match=r"\.lock is no ordinary file"),
        locked(tmp_path / "run", ""),
    ):
        pass
    assert (tmp_path / "precious.txt").read_text() == "precious"


def test_a_link_in_the_place_of_a_result_is_replaced_not_followed(tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_text("mine")
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / "run.json"
    link.symlink_to(outside)
    write_atomically(link, "theirs")
    assert outside.read_text() == "mine"
    assert not link.is_symlink()
    assert link.read_text() == "theirs"


# What is shown


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.mark.parametrize(
    "text", ['"><script>x</script>', "' onerror=alert(1) '", "</td>", "a\x00b", "&lt;", "\u202egnp"]
)
def test_a_text_is_a_text_in_an_element_and_in_an_attribute(text):
    (found,) = Tags(element("img", text, alt=text)).found
    tag, attributes = found
    assert tag == "img"
    assert list(attributes) == ["alt"]


# Who is asked


class Sockets:
    """Notes and refuses every connection and every question for an address beyond this machine."""

    def __init__(self, patch):
        self.asked = []
        connect, ask = socket.socket.connect, socket.getaddrinfo

        def is_local(host):
            try:
                return host in ("localhost", "", None) or ipaddress.ip_address(host).is_loopback
            except ValueError:
                return False

        def guarded(sock, address):
            if sock.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
                self.asked.append(address)
                raise OSError(f"no network in this test: {address}")
            return connect(sock, address)

        def guarded_ask(host, *others, **options):
            if not is_local(host):
                self.asked.append(host)
                raise socket.gaierror(f"no network in this test: {host}")
            return ask(host, *others, **options)

        patch.setattr(socket.socket, "connect", guarded)
        patch.setattr(socket, "getaddrinfo", guarded_ask)


@pytest.fixture
def sockets(monkeypatch):
    return Sockets(monkeypatch)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what `workspace` imports
def test_no_command_asks_the_network(tmp_path, esc_sr, benchmark_set, sockets):
    picture = benchmark_set / "HR" / "b.png"
    mine = [f"benchmark_dir={benchmark_set.parent}", "sets=[mine]"]
    logs = ["logger=[csv,tensorboard]", "run_dir=run"]
    small = ["callbacks.latency.lq_size=[8,8]", "callbacks.memory.lq_size=[8,8]"]
    for command in (
        ["train", *TINY, *logs, *small],
        ["info", "run/model.safetensors"],
        ["evaluate", "run/model.safetensors", *mine, "output_dir=out"],
        ["upscale", str(picture), "-o", "b_x2.png", "--checkpoint", "run/model.safetensors"],
        ["report", "run", "output_dir=report"],
        ["compare", "scale=4", "output_dir=compare"],
        ["workspace", "run"],
        ["export", "run/model.safetensors", "format=pth"],
        ["import-config", "--help"],
    ):
        done = esc_sr(*command, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
    assert sockets.asked == []


def test_the_network_would_be_noticed(sockets):
    with pytest.raises(OSError, match="no network in this test"):
        socket.create_connection(("example.org", 80), timeout=1)
    assert sockets.asked == ["example.org"]


# Secrets

KEYS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "COMET_API_KEY": "CometSesame1234567",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-sesame",
}
GIVEN = ["sesame-one", "sesame-two", "sesame-three", "sesame-four", "sesame-five", "sesame-six"]
SECRET_OVERRIDES = [
    f"+logger.csv.api_key={GIVEN[0]}",
    f"+extra={{a: [{{hub_token: {GIVEN[1]}}}], b: 1}}",
    f"+tracking='https://me:{GIVEN[2]}@mlflow.example/x?api_key={GIVEN[3]}&y=1'",
    f"+hydra.job.env_set.MY_TOKEN={GIVEN[4]}",
    f"+storage='postgresql://{GIVEN[5]}@host/db'",
    "+copied=${oc.env:WANDB_API_KEY}",
    "+text='the key is ${oc.env:COMET_API_KEY}, keep it'",
    "+nested={list: [['${oc.env:MLFLOW_TRACKING_PASSWORD}']]}",
]


@pytest.fixture
def keys(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return [*KEYS.values(), *GIVEN]


def secrets_in(folder, keys):
    """What files hold which secret."""
    return [
        (str(path.relative_to(folder)), key)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for key in keys
        if key.encode() in path.read_bytes()
    ]


def test_secrets_are_in_no_file_of_a_run(tmp_path, esc_sr, keys):
    """Hydra's own files held the command line as it was; the record held copies of variables."""
    overrides = [one for one in SECRET_OVERRIDES if "logger.csv" not in one]
    done = esc_sr(
        "train", *TINY, "callbacks=checkpoint", *overrides, f"+my.api_key={GIVEN[0]}",
        "logger=[csv,tensorboard]", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {".hydra/config.yaml", "run.json", "checkpoints/last.ckpt"} <= files_below(
        tmp_path / "run"
    )
    assert secrets_in(tmp_path, keys) == []
    assert not [key for key in keys if key in done.stdout + done.stderr]
    kept = (tmp_path / "run" / ".hydra" / "overrides.yaml").read_text()
    assert "+copied=${oc.env:WANDB_API_KEY}" in kept  # names are told
    assert "trainer.max_steps=1" in kept


def test_secrets_are_in_no_file_and_no_line_of_a_multirun(tmp_path, esc_sr, keys):
    done = esc_sr(
        "train", "-m", *TINY, "callbacks=none", "logger=none", "seed=0,1",
        f"+my.api_key={GIVEN[0]}", f"+db=mysql://u:{GIVEN[1]}@h/d", "hydra.sweep.dir=sweep",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sweep/multirun.yaml" in files_below(tmp_path)
    assert secrets_in(tmp_path, keys) == []
    assert "+my.api_key=***" in done.stdout  # Hydra's line for each job
    assert not [key for key in keys if key in done.stdout + done.stderr]


def test_a_run_that_fails_says_no_secret(tmp_path, esc_sr, keys):
    secret = f"https://me:{GIVEN[0]}@host/x.ckpt"
    done = esc_sr("train", *TINY, f"init_from='{secret}'", "run_dir=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no checkpoint https" in done.stderr
    assert GIVEN[0] not in done.stdout + done.stderr
    assert secrets_in(tmp_path, keys) == []
    for mistake in ("no_such_key=1", "model=no_such", "trainer.max_steps=many", "+x=[1,2"):
        done = esc_sr("train", *TINY, f"+my_token={GIVEN[1]}", mistake, cwd=tmp_path)
        assert done.returncode == 1
        assert GIVEN[1] not in done.stdout + done.stderr
    done = esc_sr("train", f"+my_token={GIVEN[1]} and (", cwd=tmp_path)  # what cannot be parsed
    assert done.returncode == 1
    assert GIVEN[1] not in done.stdout + done.stderr


@pytest.mark.parametrize("options", [["--cfg", "job"], ["--cfg", "job", "--resolve"]])
def test_a_configuration_that_is_printed_tells_no_secret(tmp_path, esc_sr, keys, options):
    done = esc_sr("train", *SECRET_OVERRIDES, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not [key for key in keys if key in done.stdout]
    assert "max_steps: 500000" in done.stdout
    assert "api_key: '***'" in done.stdout
    plain = esc_sr("train", *options[:2], cwd=tmp_path)
    assert plain.stdout.startswith("scale: 4\n")
    assert "***" not in plain.stdout


@pytest.mark.parametrize(
    "text",
    [
        "https://me:sesame@host/x",
        "https://me:se@same@host/x",
        "https://sesame@host/x",
        "amqp://:sesame@host",
        "see https://host/x?token=sesame&y=1 for more",
        "https://host/x?y=1&access_token=sesame",
        "run --api-key=sesame now",
        "smtp_pass=sesame",
        "+db.password='sesame street'",
        "a=1,api_key=sesame,b=2",
        "Authorization: Bearer sesame.sesame",
    ],
)
def test_secrets_in_texts_are_found(text):
    told = hidden(text)
    assert "same" not in told
    assert "***" in told


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:me/x.git",
        "ssh://git@github.com/me/x.git",
        "https://example.org/a?b=c",
        "http://localhost:5000/x",
        "data.train.gt_dir=tokens/x",
        "monitor=val/psnr_y",
        "+key=${oc.env:MY_TOKEN}",
        "api_key=${oc.env:MY_TOKEN}",
        "api_key=null",
        "bypass=1",
    ],
)
def test_other_texts_stay_as_they_are(text, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "short")  # five signs: too short to look for
    assert hidden(text) == text
    assert os.environ["PWD"] in hidden(os.environ["PWD"]) if "PWD" in os.environ else True


def test_a_variable_is_hidden_wherever_its_value_stands(keys):
    assert hidden(f"x {KEYS['WANDB_API_KEY']}y") == "x ***y"
    assert sys.executable in hidden(sys.executable)
