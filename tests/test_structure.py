"""The shape of the project: who may import whom, what a wheel holds, what a file may be."""

from __future__ import annotations

import ast
import configparser
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from dora_rt import __version__
from tests.oldest import APART, oldest_releases, oldest_releases_of

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + (done.stderr if variables else "")


PACKAGE = sorted(
    path
    for folder in ("dora_rt", "nodes")
    for path in (ROOT / folder).rglob("*.py")
    if "training" not in path.parts  # scripts that build the model
)
MODULES = [path for path in PACKAGE if path.name not in ("__init__.py", "__main__.py")]

# Why two files may have one name.
SAME_NAMES = {
    "testing.py": "`dora.testing` is the name that dora's users import",
    "loop.py": "each node keeps its loop there: one thing, in each node",
    "feed.py": "what a node of pictures shows next, in plot and in rerun",
    "errors.py": "what a package raises: dora_rt, and the ready node that has errors of its own",
}


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def name_of(path: Path) -> str:
    """Return the name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "dora_rt" else ("dora_rt", *parts))


def imported_by(path: Path) -> set[str]:
    """Return the full names of what a file imports, and of the names in it."""
    package = name_of(path).split(".")[:-1]
    if path.name == "__init__.py":
        package = name_of(path.parent / "x.py").split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def test_files_can_be_read_in_a_sitting():
    assert not {name_of(path): lines for path in PACKAGE if (lines := lines_of(path)) > 500}


def test_small_files_serve_more_than_one_other_or_are_programs():
    short = {name_of(path): path for path in MODULES if lines_of(path) < 40}
    importers = dict.fromkeys(short, 0)
    for path in PACKAGE:
        for name in imported_by(path) & short.keys():
            importers[name] += 1

    splinters = {
        str(path.relative_to(ROOT))
        for name, path in short.items()
        # The verbs of dora-rt are imported by their names when they are asked for.
        if importers[name] < 2 and path.parent.name != "cli" and "__main__" not in path.read_text()
    }

    assert not splinters


def test_no_two_files_have_one_name_for_different_things():
    folders: dict[str, list[str]] = {}
    for path in MODULES:
        folders.setdefault(path.name, []).append(str(path.parent.relative_to(ROOT)))
    twice = {name: found for name, found in folders.items() if len(found) > 1}

    assert twice.keys() <= SAME_NAMES.keys(), twice


def test_each_package_is_installed_and_says_what_it_is_for():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = {name_of(path.parent) for path in PACKAGE if path.name == "__init__.py"}
    folders = {name_of(path.parent) for path in PACKAGE}

    assert set(config["options"]["packages"].split()) == packages == folders
    for path in PACKAGE:
        if path.name == "__init__.py" and path.parent != ROOT / "nodes":
            assert ast.get_docstring(ast.parse(path.read_text())), path


UPWARD_IMPORTS = [
    ("dora_rt/transport/upward.py", "import dora_rt.launcher.launch", "Text becomes a descriptor"),
    ("dora_rt/transport/primitives/upward.py", "import dora_rt.transport.ports", "Outputs and"),
    ("dora_rt/launcher/cleanup/upward.py", "import dora_rt.launcher.memory", "The supervisor"),
    ("dora_rt/descriptor/tree/upward.py", "import dora_rt.descriptor.check", "A tree is read"),
    ("dora_rt/node/upward.py", "import dora_rt.descriptor", "A node's process never sees"),
    ("dora_rt/tracing/upward.py", "import dora_rt.node.node", "A node takes what arrives"),
    ("dora_rt/live/upward.py", "import yaml", "Only the descriptor reads YAML"),
    ("dora_rt/node/upward.py", "import posix_ipc", "Only shm speaks to posix_ipc"),
]


@pytest.mark.programs
def test_imports_go_down_only_and_one_that_goes_up_breaks_its_contract(tmp_path: Path):
    # The contracts are in setup.cfg, and `make lint` keeps them; here is shown that they can fail.
    linter = Path(sys.executable).with_name("lint-imports")
    command = [linter, "--config", tmp_path / "setup.cfg", "--no-cache"]
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    shutil.copytree(ROOT / "dora_rt", tmp_path / "dora_rt")

    def broken() -> set[str]:
        # Of the copy, not of what is installed.
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert "Contracts: " in done.stdout, done.stdout + done.stderr
        return set(re.findall(r"^(.*) BROKEN", done.stdout, re.M))

    assert broken() == set()
    for file, statement, _ in UPWARD_IMPORTS:
        path = tmp_path / file
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before}{statement}\n")

    found = broken()

    for _, statement, contract in UPWARD_IMPORTS:
        assert any(name.startswith(contract) for name in found), (statement, found)


def test_nodes_use_the_public_interface_only():
    names = (
        *("detections", "errors", "event", "interface", "latency"),
        *("picture", "picture_matcher", "picture_size", "redaction"),
        # What a ready node needs to offer the parameters of other nodes.
        *("live.run_parameters", "node_parameters"),
    )
    public = {"dora_rt", *(f"dora_rt.{name}" for name in names)}
    for path in (ROOT / "nodes").rglob("*.py"):
        if path.parent.name == "training":
            continue  # scripts that build the model, not nodes
        imported = re.findall(r"^\s*(?:from|import) (dora_rt[\w.]*)", path.read_text(), re.M)
        assert set(imported) <= public, path


@pytest.fixture(scope="module")
def source(starts_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy: setuptools would take stale files from a build/ that lies about.
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "*.so")
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "source", ignore=left_out)


@pytest.fixture(scope="module")
def build(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Build a wheel where there is no compiler; give it, and what was said."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--wheel-dir", folder, source)
    said = run(*pip, CC="/there/is/no/compiler", DORA_RT_PURE="0")
    (wheel,) = folder.glob("*.whl")
    return wheel, said


@pytest.fixture(scope="module")
def wheel(build: tuple[Path, str]) -> Path:
    return build[0]


def test_without_a_compiler_the_wheel_is_pure_and_that_is_said_in_one_line(build: tuple[Path, str]):
    wheel, said = build

    assert wheel.name.endswith("-py3-none-any.whl")
    lines = {line.strip() for line in said.splitlines() if "hot path" in line}
    assert lines == {
        "dora_rt: the compiled hot path is left out, and all works in pure Python: there is no "
        "/there/is/no/compiler"
    }


def test_wheel_is_for_any_machine_if_what_was_to_be_compiled_could_not_be():
    setup = runpy.run_path(str(ROOT / "setup.py"))
    if "HonestWheel" not in setup:
        pytest.skip("setuptools before 70.1, without wheel")
    setuptools = pytest.importorskip("setuptools")
    extension = setuptools.Extension("dora_rt.compiled._cores", ["no.pyx"])
    distribution = setuptools.Distribution({"name": "dora_rt", "ext_modules": [extension]})
    wheel = setup["HonestWheel"](distribution)
    wheel.ensure_finalized()

    assert wheel.get_tag()[2] != "any"

    # No such file: as with a compiler that lacks the headers of Python.
    builder = setup["OptionalBuild"](distribution)
    builder.ensure_finalized()
    builder.build_extension(extension)

    assert wheel.get_tag() == ("py3", "none", "any")
    assert wheel.root_is_pure


def test_with_a_compiler_the_wheel_is_pure_if_that_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    setup = runpy.run_path(str(ROOT / "setup.py"))
    monkeypatch.setenv("CC", sys.executable)  # a program that is there
    monkeypatch.setenv("DORA_RT_PURE", "0")
    found = setup["find_extensions"]()
    monkeypatch.setenv("DORA_RT_PURE", "1")

    assert bool(found) is not bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert setup["find_extensions"]() == []


def test_wheel_is_pure_python_and_has_no_top_level_nodes_or_dora(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()

    assert wheel.name.endswith("-py3-none-any.whl")
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"dora_rt"}
    assert "dora_rt/nodes/webcam/__init__.py" in names
    assert "dora_rt/nodes/object_detection/scene_model.onnx" in names
    assert "dora_rt/nodes/ros2/interfaces/std_msgs.txt" in names
    assert "dora_rt/nodes/ros2/interfaces/LICENSES" in names
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


def test_index_page_has_an_author_and_links_that_lead_somewhere(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()

    head, _, page = text.partition("\n\n")
    assert re.search(r"^Author: \S", head, re.M)
    assert {"Documentation", "Changelog", "Issues"} <= set(
        re.findall(r"^Project-URL: (\w+), https://", head, re.M)
    )
    assert f"Version: {__version__}" in head
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert len(links) > 10
    assert not [link for link in links if not link.startswith("https://")]
    # What they lead to is in the tree.
    home = re.search(r"^Home-page: (.*)$", head, re.M)
    assert home is not None
    paths = [re.sub(r"^/(blob|raw)/main/", "", link.removeprefix(home[1])) for link in links]
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_each_dependency_has_an_oldest_release_that_the_soak_test_installs():
    releases = oldest_releases()

    assert {"numpy", "opencv-python", "posix_ipc", "pyyaml"} <= releases.keys()
    for extra in APART:
        assert oldest_releases_of(extra)
    assert "tests.oldest" in (ROOT / "Makefile").read_text()


def test_dependency_without_an_oldest_release_is_refused(tmp_path: Path):
    config = tmp_path / "setup.cfg"
    config.write_text(
        "[options]\ninstall_requires =\n    numpy\n[options.extras_require]\nrerun =\n    x>=1\n"
    )

    with pytest.raises(ValueError, match="'numpy' has no oldest release"):
        oldest_releases(config)


def test_wheel_is_built_without_the_packages_of_the_tests():
    rule = re.search(r"^wheel: (.*)$", (ROOT / "Makefile").read_text(), re.M)

    assert rule is not None
    assert "test" not in rule[1]
