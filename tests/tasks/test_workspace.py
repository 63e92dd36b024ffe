"""The W&B workspace that is laid out for runs; that its keys are logged: test_dashboards.py."""

import http.server
import json
import os
import subprocess
import sys
import threading
import warnings

import pytest

from esc_sr.config import compose_config
from esc_sr.errors import InputError, MissingExtraError
from esc_sr.tasks import workspace

EXTRA = "wandb_workspaces.reports.v2"


@pytest.fixture
def runs(make_run, tmp_path):
    """Two attentions with two seeds each."""
    for attention in ("eager", "sdpa"):
        for seed in (0, 1):
            make_run(tmp_path / "runs" / f"{attention}{seed}", attention=attention, seed=seed)
    return tmp_path / "runs"


@pytest.fixture
def library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, about its first version
        return pytest.importorskip(EXTRA, reason="pip install 'esc-sr[wandb]'")


def lay_out(runs, *overrides):
    output = [] if any(one.startswith("output=") for one in overrides) else ["output=null"]
    return workspace.run(compose_config("workspace", [f"runs=[{runs}]", *output, *overrides]))


def test_seeds_are_grouped_and_attentions_coloured(library, runs, capsys):
    content = lay_out(runs, "entity=me", "project=mine", "name=ablation")
    assert (content["entity"], content["project"], content["name"]) == ("me", "mine", "ablation")
    section = content["spec"]["section"]
    (runset,) = section["runSets"]
    assert [group["name"] for group in runset["grouping"]] == [
        "run/attention.value",
        "run/variant.value",
    ]
    colours = section["customRunColors"]
    eager, sdpa = ({c for key, c in colours.items() if name in key} for name in ("eager", "sdpa"))
    assert len(eager) == len(sdpa) == 1  # whatever the variant
    assert eager != sdpa
    assert "nothing was sent" in capsys.readouterr().out


def test_parallel_coordinates_go_over_what_differs(library, runs):
    text = json.dumps(lay_out(runs)["spec"])
    assert '"config:run/attention.value"' in text or '"config:attention.value"' in text
    assert '"config:seed.value"' in text
    assert '"summary:best/psnr_y"' in text


def test_a_run_without_costs_and_table_has_no_panels_of_them(library, make_run, tmp_path):
    make_run(tmp_path / "run", measured={"val/Set5/psnr_y": 30.0}, results={}, best_score=None)
    text = json.dumps(lay_out(tmp_path / "run")["spec"]["section"]["panelBankConfig"])
    assert "val/Set5/psnr_y" in text
    assert "perf/" not in text
    assert "best/" not in text
    assert "final/images" not in text


def test_what_would_be_sent_is_told_before_it_is(library, runs, monkeypatch, capsys, tmp_path):
    seen = []

    def save(self):
        seen.append(capsys.readouterr().out)
        raise RuntimeError("no\nconnection")

    import wandb_workspaces.workspaces as ws

    monkeypatch.setattr(ws.Workspace, "save", save)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    place = tmp_path / "out" / "workspace.json"
    with pytest.raises(InputError, match="W&B has not saved it: no connection"):
        lay_out(runs, "send=true", "entity=me", f"output={place}")
    assert "sending this layout, and nothing of the runs, to https://" in seen[0]
    assert "me/esc_sr" in seen[0]
    assert place.is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["send=true"], "send=true needs the user or team at W&B: entity=NAME"),
        (["send=1"], "send is true or false"),
        (["runs=null"], "runs must be a list"),
    ],
)
def test_mistakes_are_told(runs, overrides, message):
    with pytest.raises(InputError, match=message):
        lay_out(runs, *overrides)


def test_offline_sends_nothing_even_if_asked(runs, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(InputError, match="send=true, but WANDB_MODE=offline"):
        lay_out(runs, "send=true", "entity=me")


def test_runs_of_several_projects_need_one_named(make_run, tmp_path):
    for project in ("a", "b"):
        logger = {"wandb": {"project": project, "entity": "me"}}
        make_run(tmp_path / "runs" / project, config={"logger": logger})
    with pytest.raises(InputError, match="the runs have several: a, b; give project=NAME"):
        lay_out(tmp_path / "runs")


def test_the_missing_extra_is_named(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'esc-sr\[wandb\]'"):
        lay_out(runs)


@pytest.mark.slow
def test_a_server_is_sent_the_layout_and_nothing_else(library, runs, tmp_path, wandb_variables):
    received = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received.append((self.path, body.decode("utf-8", "replace")))
            view = {"view": {"id": "1", "name": "nw-1-v"}, "inserted": True}
            viewer = {"id": "1", "entity": "me", "username": "me", "flags": "{}", "email": ""}
            viewer["teams"] = {"edges": []}
            answer = json.dumps({"data": {"upsertView": view, "viewer": viewer}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        done = subprocess.run(
            [sys.executable, "-m", "esc_sr", "workspace", str(runs), "send=true", "entity=me"],
            cwd=tmp_path,
            env={**os.environ, **wandb_variables, "WANDB_BASE_URL": address},
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert f"to {address}: me/esc_sr" in done.stdout
    assert {path for path, _ in received} == {"/graphql"}  # and no reports of how it fared
    (sent,) = [body for _, body in received if "upsertView" in body]
    told = json.loads((tmp_path / "workspace.json").read_text())
    assert json.loads(json.loads(sent)["variables"]["spec"]) == told["spec"]
    assert all("Viewer" in body for _, body in received if body != sent)
