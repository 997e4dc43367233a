"""The shape of the project: who may import whom, what a wheel holds, what a file may be."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.programs
def test_import_layers_are_kept():
    # The contracts are in setup.cfg.
    linter = Path(sys.executable).with_name("lint-imports")

    out = run(linter, "--config", "setup.cfg", "--no-cache")

    assert "0 broken" in out


def test_nodes_use_the_public_interface_only():
    public = {"dora_rt"} | {
        f"dora_rt.{name}" for name in ("errors", "event", "interface", "latency")
    }
    for path in (ROOT / "nodes").rglob("*.py"):
        if path.parent.name == "training":
            continue  # scripts that build the model, not nodes
        imported = re.findall(r"^\s*(?:from|import) (dora_rt[\w.]*)", path.read_text(), re.M)
        assert set(imported) <= public, path


def test_files_can_be_read_in_a_sitting():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("dora_rt", "nodes")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }

    assert not long


@pytest.fixture(scope="module")
def wheel(starts_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Of a copy: setuptools would take stale files from a build/ that lies about.
    source = shutil.copytree(
        ROOT, folder / "source", ignore=shutil.ignore_patterns(".*", "build", "*.egg-info")
    )
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, source)
    return next(folder.glob("*.whl"))


def test_wheel_is_pure_python_and_has_no_top_level_nodes_or_dora(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()

    assert wheel.name.endswith("-py3-none-any.whl")
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"dora_rt"}
    assert "dora_rt/nodes/webcam/__init__.py" in names
    assert "dora_rt/nodes/object_detection/scene_model.onnx" in names
    assert "dora_rt/compat/dora/__init__.py" in names
    assert "dora_rt/compat/dora/__init__.pyi" in names
    assert "dora_rt/compat/dora/py.typed" in names
    assert {
        f"dora_rt/dashboard/page/{name}" for name in ("index.html", "dashboard.css", "dashboard.js")
    } <= set(names)
    assert "dora_rt/py.typed" in names


def test_wheel_has_every_module_of_the_tree(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        *(str(path.relative_to(ROOT)) for path in (ROOT / "dora_rt").rglob("*.py")),
        *(f"dora_rt/{path.relative_to(ROOT)}" for path in (ROOT / "nodes").rglob("*.py")),
    }
    left_out = {name for name in expected - names if "/training/" not in name}

    assert not left_out


def test_installed_from_the_wheel_nodes_are_dora_rt_nodes_and_nothing_else(
    wheel: Path, tmp_path: Path
):
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel)

    out = run(
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import dora_rt.nodes.webcam as webcam, importlib.util as util\n"
        "print(webcam.__file__, util.find_spec('nodes'), util.find_spec('dora'))",
        cwd=tmp_path,
    )

    assert out.split() == [str(site / "dora_rt/nodes/webcam/__init__.py"), "None", "None"]


@pytest.mark.programs
def test_installed_editable_nodes_are_those_of_the_checkout(tmp_path: Path):
    out = run(
        sys.executable,
        "-c",
        "import dora_rt.nodes.webcam as webcam, importlib.util as util\n"
        "print(webcam.__file__, util.find_spec('nodes'), util.find_spec('dora'))",
        cwd=tmp_path,
    )

    assert out.split() == [str(ROOT / "nodes/webcam/__init__.py"), "None", "None"]
