"""What the documents say can be done, can be done."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import esc_sr
from esc_sr.config import compose_config
from esc_sr.tasks import bench, search, upscale
from esc_sr.tasks.networks import positional_checkpoints, with_output
from esc_sr.tasks.report import positional_runs

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CPU = ["trainer.accelerator=cpu"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """Every `esc-sr` command of every document, without its program and comment."""
    found = []
    for path in DOCUMENTS:
        for block in blocks(path.read_text(), "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0].endswith("esc-sr"):
                    found.append(words[1:])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_composes(words):
    command, *overrides = words
    if command == "upscale":  # no configuration: it has a parser of its own
        upscale.parser().parse_args(overrides)
        return
    if command == "bench":
        overrides = bench.translated(overrides)
    elif command in ("convert", "export"):
        overrides = with_output(overrides)
    if command == "search":
        overrides, behind = search.split(overrides)
        compose_config("train", behind)
    if "--from" in overrides:  # stands for the overrides of a run
        at = overrides.index("--from")
        del overrides[at : at + 2]
    positional = positional_runs if command in ("report", "workspace") else positional_checkpoints
    overrides = positional(overrides)
    if "--compare" in overrides:  # the last two are choices of overrides
        *overrides, first, second = [word for word in overrides if word != "--compare"]
        for choice in (first, second):
            compose_config(command, [*overrides, *choice.split()])
        return
    swept = [override for override in overrides if override != "-m"]
    # a sweep's first choice stands for the rest
    single = [
        re.sub(r"=([^\[,]+),.*$", r"=\1", override) if "-m" in overrides else override
        for override in swept
    ]
    compose_config(command, single)


def test_there_are_commands_to_check():
    assert len(commands()) >= 10


@pytest.mark.parametrize("target", ["setup", "quickstart", "test", "notebooks", "lint", "types"])
def test_every_make_target_that_is_named_exists(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    documents = [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]
    assert any(re.search(rf"make .*\b{target}\b", path.read_text()) for path in documents)


@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_python_examples_run(tmp_path, monkeypatch, name):
    examples = blocks((ROOT / name).read_text(), "python")
    assert len(examples) >= 2
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in examples:  # a later one goes on where an earlier one ended
        exec(compile(example, name, "exec"), names)


def test_what_is_public_has_an_example_and_is_in_the_document():
    """The examples run too: pytest looks for them in the whole package."""
    text = (ROOT / "docs" / "python.md").read_text()
    for name in set(esc_sr.__all__) - {"__version__"}:
        assert "Example:\n" in (getattr(esc_sr, name).__doc__ or ""), name
        assert f"`{name}" in text, name


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_the_quickstart_command_runs_as_written(tmp_path, esc_sr):
    quickstart = next(words for words in commands() if "experiment=quickstart" in words)
    done = esc_sr(*quickstart, *CPU, "trainer.max_steps=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"sample.*bicubic.*26\.43", done.stdout)
    for label in ("weights:", "checkpoint:", "log:"):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(label)]
        assert (tmp_path / line.split()[1]).exists()


def test_the_map_of_the_tree_is_true():
    (tree,) = blocks((ROOT / "README.md").read_text(), "text")
    named = [line.split()[0] for line in tree.splitlines() if line.strip()]
    folder = ROOT
    for line, name in zip([ln for ln in tree.splitlines() if ln.strip()], named, strict=True):
        if not line.startswith(" "):
            folder = ROOT / name
            assert folder.exists(), name
        else:
            assert (folder / name).exists(), name


def test_every_link_leads_somewhere():
    for path in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name}: {target}"
