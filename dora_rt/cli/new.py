"""`dora-rt new`: writes a project that runs at once and has a test."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.errors import LaunchError
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE

_DESCRIPTION = """\
Write a project: a dataflow of three nodes, and a test of one of them that needs no dataflow."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "written",
        EXIT_USAGE: "there is something already",
        EXIT_ENVIRONMENT: "it cannot be written",
    }
)

_EPILOG = f"""\
examples:
  dora-rt new robot
  cd robot && dora-launch dataflow.yml
  cd robot && python -m pytest

An existing file is never overwritten.

{_EXIT_CODES}"""

_FILES = {
    "dataflow.yml": """\
# dora-launch dataflow.yml

nodes:
  - id: camera
    path: nodes/camera.py
    inputs:
      tick: dora/timer/millis/100
    outputs: [image]

  - id: brightness
    path: nodes/brightness.py
    inputs:
      # A slow reader gets the newest picture, not old ones.
      image: {source: camera/image, queue_policy: latest}
    outputs: [mean]

  - id: printer
    path: nodes/printer.py
    inputs:
      mean: brightness/mean
""",
    "nodes/camera.py": '''\
"""Sends a picture for each tick: here a grey one that gets brighter and brighter.

For a real camera put `module: dora_rt.nodes.webcam` into dataflow.yml in the place of
`path: nodes/camera.py`, without its inputs.
"""

from dora_rt import Node

SHAPE = (480, 640, 3)


def run(node) -> None:
    for count, _ in enumerate(node):
        # The array is in shared memory: what is written here is not copied again.
        with node.loan("image", SHAPE, metadata={"frame": count}) as image:
            image[:] = count % 256


if __name__ == "__main__":
    run(Node())
''',
    "nodes/brightness.py": '''\
"""Sends the mean of each colour of each picture."""

from dora_rt import Node


def run(node) -> None:
    for event in node:  # ends when the camera does, or when the dataflow is stopped
        image = event.value  # the camera's own memory, read-only
        node.send_output("mean", image.mean(axis=(0, 1)), event.metadata)


if __name__ == "__main__":
    run(Node())
''',
    "nodes/printer.py": '''\
"""Prints what comes, once a second."""

from dora_rt import Node


def run(node) -> None:
    for event in node:
        frame = event.metadata["frame"]
        if frame % 10 == 0:
            print(f"frame {frame}: mean colour {event.value}")


if __name__ == "__main__":
    run(Node())
''',
    "tests/test_brightness.py": '''\
"""A node's loop, tried without a dataflow: inputs from a list, outputs into a list."""

import numpy as np
from dora_rt.testing import FakeNode, make_event

from nodes import brightness


def test_brightness_sends_the_mean_of_each_colour_and_keeps_the_metadata():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 10, 20, 30
    node = FakeNode([make_event("image", image, {"frame": 7})], output_ids=("mean",))

    brightness.run(node)

    (sent,) = node.sent
    assert sent.output_id == "mean"
    assert sent.value.tolist() == [5, 10, 15]
    assert sent.metadata["frame"] == 7
''',
    "pyproject.toml": """\
# For pytest alone: the nodes are scripts, and need not be installed.
[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
""",
    "README.md": """\
# NAME

    dora-launch dataflow.yml   run it, until Ctrl-C
    dora-rt top                watch it, in another terminal
    dora-rt check dataflow.yml after a change of the file
    python -m pytest           test the nodes (pip install pytest)
""",
    ".gitignore": "__pycache__/\n.pytest_cache/\nout/\n",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="NAME", help="the folder to make")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    folder: Path = options.folder
    name = folder.resolve().name
    if not re.fullmatch(r"[\w. -]+", name):
        raise UsageError(f"{name!r} is not a name for a folder")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists already, and is not an empty folder")
        for path, text in _FILES.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text.replace("NAME", name) if path == "README.md" else text)
    except OSError as error:
        raise LaunchError(f"{folder} cannot be written: {error.strerror}") from error
    # As a shell takes it: the name may have blanks.
    quoted = shlex.quote(f"./{folder}" if str(folder).startswith("-") else str(folder))
    print(f"written: {', '.join(_FILES)}\nnow: cd {quoted} && dora-launch dataflow.yml")
    return EXIT_OK


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
