"""Imports run one way: who may import whom, read from the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "esc_sr"

# errors, files, locking and offspring may be imported by everyone.
ALLOWED = {
    "functional": {"functional"},
    "attention": {"attention", "functional"},
    "layers": {"layers", "attention", "functional"},
    "models": {"models", "layers", "attention", "functional"},
    "losses": {"losses", "functional"},
    "metrics": {"metrics", "functional"},
    "published": {"published"},
    "runs": {"runs"},
    "search": {"search", "runs"},
    "comparison": {"comparison", "drawing", "markup", "published", "profiling"},
    "reporting": {"reporting", "comparison", "drawing", "markup", "runs"},
    "data": {"data", "functional"},
    "inference": {"inference", "models", "layers", "functional"},
    "export": {"export", "inference", "markup", "models", "layers", "attention", "functional"},
    "pictures": {"pictures"},
    "profiling": {"profiling", "models", "functional"},
    "analysis": {
        "analysis",
        "drawing",
        "profiling",
        "models",
        "layers",
        "attention",
        "functional",
    },
    "evaluation": {"inference", "metrics"},
    "training": {
        "training",
        "inference",
        "profiling",
        "losses",
        "metrics",
        "data",
        "functional",
        "runs",
    },
    "integrations": {"models", "attention"},
    "config": {"launching", "output", "runs", "yaml_text"},
    "api": {"config", "models", "attention"},
    "cli": {"output"},
    "drawing": set(),
    "errors": set(),
    "files": set(),
    "launching": set(),
    "locking": set(),
    "markup": set(),
    "offspring": set(),
    "output": set(),
    "yaml_text": set(),
}
ANYWHERE = {"errors", "files", "locking", "offspring", "__version__"}
# Third-party packages and the only places that may import them when they are themselves imported.
THIRD_PARTY = {
    "hydra": {"tasks", "config"},
    "omegaconf": {"tasks", "config"},
    "lightning": {"training", "data/datamodule.py", "tasks"},
    "pytorch_lightning": set(),
    "torchmetrics": {"metrics", "training", "evaluation"},
    "matplotlib": {"drawing.py", "comparison", "reporting", "analysis/figures.py"},
    "wandb": set(),
    "wandb_workspaces": set(),
    "pyvips": {"pictures/libvips.py"},
    "lmdb": set(),
    "onnx": set(),
    "onnxruntime": set(),
    "onnxscript": set(),
    "flash_attn": set(),
    "torchvision": set(),
    "optuna": set(),
    "filelock": set(),
}


def modules_imported(path: Path) -> set[str]:
    """Names of the modules that a file imports, inside functions too; not for type checking."""
    found = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update({f"{node.module}.{alias.name}" for alias in node.names})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def layer_of(path: Path) -> str:
    first = path.relative_to(SRC).parts[0]
    return first.removesuffix(".py")


def own_imports(path: Path) -> set[str]:
    names = set()
    for name in modules_imported(path):
        parts = name.split(".")
        if parts[0] == "esc_sr" and len(parts) > 1:
            names.add(parts[1])
    return names - ANYWHERE


FILES = sorted(path for path in SRC.rglob("*.py") if path.parent != SRC or path.stem[0] != "_")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_layers_import_downwards_only(path):
    layer = layer_of(path)
    if layer == "tasks":  # the top: everything but the command line
        assert "cli" not in own_imports(path)
        return
    assert layer in ALLOWED, f"{layer} is new: say in ALLOWED what it may import"
    assert own_imports(path) <= ALLOWED[layer]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_heavy_packages_stay_where_they_belong(path):
    relative = str(path.relative_to(SRC))
    for name in modules_imported(path):
        package = name.split(".")[0]
        if package in THIRD_PARTY:
            allowed = THIRD_PARTY[package]
            assert any(relative.startswith(place) for place in allowed), f"{relative}: {name}"


@pytest.mark.parametrize("kernel", ["eager", "sdpa", "flex", "flash"])
def test_attention_kernels_do_not_know_each_other(kernel):
    imported = modules_imported(SRC / "attention" / f"{kernel}.py")
    own = {name for name in imported if name.startswith("esc_sr.attention")}
    assert {name.split(".")[2] for name in own} == {"bias", "interface"}


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {
    "optuna",
    "pyvips",
    "torch",
    "lightning",
    "hydra",
    "omegaconf",
    "matplotlib",
    "numpy",
    "PIL",
}


def test_importing_the_package_and_its_command_line_is_light():
    assert not HEAVY & loaded_by("import esc_sr, esc_sr.cli, esc_sr.config")


def test_loading_a_network_needs_neither_lightning_nor_hydra():
    loaded = loaded_by("import esc_sr; esc_sr.load_model; esc_sr.ESC")
    assert not {"lightning", "hydra", "matplotlib"} & loaded
    assert "torch" in loaded  # the check can fail


def test_the_python_api_needs_hydra_to_create_a_network_only(tmp_path):
    path = tmp_path / "x.safetensors"
    tiny = "scale=2, dim=16, partial_dim=8, num_blocks=1, num_conv_attn=1"
    uses = f"esc_sr.save_model(esc_sr.ESC({tiny}), {str(path)!r}); esc_sr.list_models()"
    loaded = loaded_by(f"import esc_sr; {uses}; esc_sr.Upscaler({str(path)!r})")
    assert not {"lightning", "hydra", "omegaconf", "matplotlib"} & loaded
    loaded = loaded_by("import esc_sr; esc_sr.create_model('esc_lt', num_blocks=1)")
    assert not {"lightning", "torchmetrics", "matplotlib"} & loaded
    assert "hydra" in loaded
