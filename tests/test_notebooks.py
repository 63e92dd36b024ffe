"""Every notebook is a script and a notebook that say the same, the notebook without outputs."""

from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_notebooks_come_in_pairs():
    assert NOTEBOOKS
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in FOLDER.glob("*.py")}


def test_they_are_numbered_and_told_in_the_readme():
    numbers = [path.stem.split("_")[0] for path in NOTEBOOKS]
    assert numbers == [f"{i:02}" for i in range(1, len(NOTEBOOKS) + 1)]
    readme = (FOLDER.parent / "README.md").read_text()
    assert [path.stem for path in NOTEBOOKS if f"  {path.name} " not in readme] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_has_a_small_size(path):
    """Which is what CI can afford to execute."""
    assert "ESC_SR_NOTEBOOK_SIZE" in path.with_suffix(".py").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_says_what_its_script_says(path):
    """Mended by `make format`, which makes notebooks follow their scripts."""
    notebook = nbformat.read(path, as_version=4)
    script = jupytext.read(path.with_suffix(".py"))
    cells = [[(cell.cell_type, cell.source) for cell in pair.cells] for pair in (notebook, script)]
    assert cells[0] == cells[1]
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_holds_no_outputs(path):
    """Mended by `.venv/bin/jupytext --to ipynb notebooks/NAME.py`, which writes it anew."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
