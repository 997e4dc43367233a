"""The pages for users: their links lead somewhere, and what they show works as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dora_rt.descriptor import Host, parse_descriptor, read_descriptor
from tests.harness.verbs import verb

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_page_and_a_title(page: Path):
    links = re.findall(r"\]\((?!http)([^)\s]+)\)", page.read_text())
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme():
    pages = {page.name for page in ROOT.glob("docs/*.md")}
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", (ROOT / "README.md").read_text()))
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))

    assert "index.md" in linked <= pages
    assert listed | {"index.md"} == pages


def test_pages_and_their_index_agree_on_the_time_that_they_take():
    index = (ROOT / "docs" / "index.md").read_text()
    rows = re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\).*\| (\d+) \|$", index, re.M)

    assert len(rows) > 8
    for page, minutes in rows:
        text = (ROOT / "docs" / page).read_text()
        assert text.split("\n\n")[1] == f"*About {minutes} minutes.*", page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_of_the_project_exist(page: Path):
    roots = (ROOT, ROOT / "dora_rt")
    tops = {path.name for root in roots for path in root.iterdir()}
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.\w+)?)`", page.read_text()))
    written = {"benchmarks/out/", "nodes/alarm.py", "tests/test_alarm.py"}
    ours = {path for path in named - written if path.split("/")[0] in tops}

    assert not {path for path in ours if not any((root / path).exists() for root in roots)}


def test_picture_of_the_house_has_every_folder_and_no_other():
    page = (ROOT / "docs/contributing.md").read_text()
    picture = page.split("```")[1].partition("\nnodes/")[0]
    shown = set(re.findall(r"^ *(?:compat/)?(\w+)/ ", picture, re.M))
    folders = {path.parent.name for path in (ROOT / "dora_rt").rglob("*.py")}

    assert shown == folders - {"compat"}


@pytest.mark.parametrize("name", ["own-camera", "own-model"])
def test_dataflow_of_a_page_is_a_good_one(tmp_path: Path, name: str):
    # The first one of the page is whole; further ones are parts of it.
    flow = blocks(ROOT / "docs" / f"{name}.md", "yaml")[0]
    path = tmp_path / "dataflow.yml"
    path.write_text(flow)

    assert len(read_descriptor(path, {}).nodes) > 1


def test_dataflows_of_the_pages_about_parameters_and_arguments_are_read():
    (parameters,) = blocks(ROOT / "docs" / "parameters.md", "yaml")
    page = (ROOT / "docs" / "dataflow-file.md").read_text().partition("\n## Arguments")[2]
    arguments = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)[0]

    camera = "  - {id: camera, path: c.py, outputs: [image]}\n"
    (node, _) = parse_descriptor(parameters + camera, "page.yml").nodes
    started = parse_descriptor(
        arguments, "page.yml", Host({}, arguments={"robot": "r2", "viewer": "false"})
    )

    assert [one.name for one in node.parameters or ()] == ["classes", "threshold", "mode"]
    assert [node.id for node in started.nodes] == ["camera"]


def test_first_example_of_the_page_about_transforms_runs(capsys: pytest.CaptureFixture[str]):
    exec(blocks(ROOT / "docs" / "transforms.md", "python")[0], {})

    assert re.fullmatch(r"\[4\.00\d* +4\.09\d* +0\.5 *\]\n", capsys.readouterr().out)


@pytest.mark.programs
def test_page_about_own_nodes_can_be_followed_to_its_end(tmp_path: Path):
    page = ROOT / "docs" / "own-node.md"
    folder = tmp_path / "robot"
    assert verb("new", "robot", cwd=tmp_path).exit_code == 0

    node, test = blocks(page, "python")
    (entry,) = blocks(page, "yaml")
    (folder / "nodes" / "alarm.py").write_text(node)
    (folder / "tests" / "test_alarm.py").write_text(test)
    with (folder / "dataflow.yml").open("a") as file:
        file.write(f"\n{entry}")

    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=folder, capture_output=True, text=True
    )
    assert "2 passed" in tests.stdout, tests.stdout + tests.stderr
    run = subprocess.run(
        [sys.executable, "-m", "dora_rt", "dataflow.yml", "--stop-after", "3s"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "alarm      | bright: 21\n" in run.stdout


@pytest.mark.programs
def test_tests_of_the_page_about_the_api_run_as_they_are_printed(tmp_path: Path):
    page = (ROOT / "docs" / "python-api.md").read_text()
    section = page.partition("## Testing a node without a dataflow")[2]
    for name, content in re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)^```", section, re.M | re.S):
        (tmp_path / name).write_text(content)

    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True
    )

    assert "2 passed" in tests.stdout, tests.stdout + tests.stderr


def test_docker_page_does_not_overwrite_the_readme_of_a_project():
    commands = re.findall(r"^    cp (.*)$", (ROOT / "docs" / "docker.md").read_text(), re.M)

    assert commands
    assert not any("*/" in command or "docker/*" in command for command in commands)


@pytest.mark.skipif(any(Path("/dev").glob("video*")), reason="here is a camera, which never ends")
@pytest.mark.programs
def test_dataflow_of_the_readme_ends_by_itself_where_there_is_no_camera(tmp_path: Path):
    readme = ROOT / "README.md"
    (flow,) = blocks(readme, "yaml")
    (tmp_path / "dataflow.yml").write_text(flow.replace("frames=300", "frames=30"))
    for name, program in zip(("brightness", "printer"), blocks(readme, "python"), strict=True):
        (tmp_path / f"{name}.py").write_text(program)

    run = subprocess.run(
        [sys.executable, "-m", "dora_rt", "dataflow.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=40,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^printer +finished ", run.stdout, re.M)
