"""Modules beside the files of operators of one process: each operator gets its own."""

from __future__ import annotations

import os

import pytest

from tests.harness.flow import Flow

OPERATOR = """
    import importlib
    import threading
    import helper
    import only_{name}
    from parts import part
    from loose import name as loose_name
    import both, later_first
    from dora_rt import DoraStatus

    class Operator:
        def on_input(self, dora_input, send_output):
            import late
            found = []
            thread = threading.Thread(target=self.look, args=[found])
            thread.start()
            thread.join()
            print(helper.NAME, only_{name}.NAME, part.NAME, part.again, loose_name, late.NAME,
                  importlib.import_module("late").NAME, *found, helper.__name__,
                  helper.Error.__module__, both.ROUND, helper is self.helper())
            return DoraStatus.STOP

        def helper(self):
            import helper
            return helper

        def look(self, found):
            import in_thread
            found.append(in_thread.NAME)
"""


def write_operator(flow: Flow, name: str) -> None:
    for folder in (name, f"{name}/parts", f"{name}/loose"):
        (flow.folder / folder).mkdir()
    text = f"NAME = {name!r}\n"
    flow.write(f"{name}/op.py", OPERATOR.replace("{name}", name))
    flow.write(f"{name}/helper.py", text + "class Error(Exception): pass\n")
    flow.write(f"{name}/only_{name}.py", text)
    flow.write(f"{name}/parts/__init__.py", "")
    flow.write(f"{name}/parts/part.py", text + "from .other import NAME as again\n")
    flow.write(f"{name}/parts/other.py", text)
    flow.write(f"{name}/loose/__init__.py", text + "name = NAME\n")
    flow.write(f"{name}/late.py", text)
    flow.write(f"{name}/in_thread.py", text)
    # Each of the two imports the other.
    flow.write(
        f"{name}/both.py", "ROUND = 1\nimport helper, round_trip\nROUND = round_trip.ROUND\n"
    )
    flow.write(f"{name}/round_trip.py", text + "import both\nROUND = f'{NAME}{both.ROUND}'\n")
    flow.write(f"{name}/later_first.py", text)


INPUTS = "inputs: {tick: dora/timer/hz/20}"
FORMS = {
    "operators": f"""
        nodes:
          - id: pair
            operators:
              - {{id: one, python: left/op.py, {INPUTS}}}
              - {{id: two, python: right/op.py, {INPUTS}}}
    """,
    "runtime": f"""
        nodes:
          - {{id: one, runtime: pair, operator: {{python: left/op.py, {INPUTS}}}}}
          - {{id: two, runtime: pair, operator: {{python: right/op.py, {INPUTS}}}}}
    """,
}


@pytest.mark.parametrize("form", FORMS)
def test_each_operator_imports_what_is_beside_its_own_file(flow: Flow, form: str):
    for name in ("left", "right"):
        write_operator(flow, name)
    flow.write("flow.yml", FORMS[form])

    done = flow.run(timeout_s=20)

    assert done.exit_code == 0, done.out + done.err
    for name in ("left", "right"):
        assert f"{' '.join([name] * 8)} helper helper {name}1 True" in done.lines("pair")


def test_module_of_an_operator_comes_before_an_installed_one_of_that_name(flow: Flow):
    for name in ("a", "installed"):
        (flow.folder / name).mkdir()
    flow.write("a/helper.py", "NAME = 'mine'\n")
    flow.write("installed/helper.py", "NAME = 'installed'\n")
    flow.write("installed/library.py", "import helper\nNAME = helper.NAME\n")
    flow.write(
        "a/op.py",
        """
        import helper, library
        from dora_rt import DoraStatus
        class Operator:
            def on_input(self, dora_input, send_output):
                import sys
                print(helper.NAME, library.NAME, sys.modules["helper"].NAME)
                return DoraStatus.STOP
        """,
    )
    flow.write(
        "flow.yml",
        "nodes: [{id: a, operator: {python: a/op.py, inputs: {tick: dora/timer/hz/20}}}]\n",
    )

    path = [str(flow.folder / "installed"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = flow.run(env={"PYTHONPATH": os.pathsep.join(path)}, timeout_s=20)

    assert done.lines("a") == ["mine installed installed"]


def test_operator_whose_helper_fails_is_told_with_its_frames(flow: Flow):
    for name in "ab":
        (flow.folder / name).mkdir()
        flow.write(f"{name}/helper.py", "1 / 0\n" if name == "b" else "")
        flow.write(f"{name}/op.py", "import helper\nclass Operator:\n    on_input = None\n")
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: pair
            operators:
              - {id: one, python: b/op.py, inputs: {tick: dora/timer/hz/20}}
              - {id: two, python: a/op.py, inputs: {tick: dora/timer/hz/20}}
        """,
    )

    done = flow.run(timeout_s=20)

    assert done.exit_code == 1
    assert "b/op.py) cannot be imported: ZeroDivisionError" in done.out
    assert 'b/helper.py", line 1' in done.out
