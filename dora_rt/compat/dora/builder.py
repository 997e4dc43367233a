"""Dataflow files written by Python programs."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

_QUEUE_POLICIES = ("drop_oldest", "backpressure")


class DataflowBuilder:
    """A dataflow that grows node by node."""

    def __init__(self, name: str = "dora-dataflow") -> None:
        self.name = name
        self.nodes: list[Node] = []

    def add_node(self, id: str, **config: Any) -> Node:  # noqa: A002
        """Add a node, with any keys that the dataflow file knows."""
        node = Node(id, **config)
        self.nodes.append(node)
        return node

    def to_yaml(self, path: str | None = None) -> str | None:
        """Return the text of the file, or write it to `path`."""
        text: str = yaml.safe_dump(
            {"nodes": [node.to_dict() for node in self.nodes]}, sort_keys=False
        )
        if path is None:
            return text
        Path(path).write_text(text)
        return None

    def __enter__(self) -> DataflowBuilder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class Output:
    """An output of a node; as text what an input that reads it has as its source."""

    def __init__(self, node: Node, output_id: str) -> None:
        self.node = node
        self.output_id = output_id

    def __str__(self) -> str:
        return f"{self.node.id}/{self.output_id}"


class Node:
    """A node; each method gives the node again, so that calls can be chained."""

    def __init__(self, id: str, **config: Any) -> None:  # noqa: A002
        self.id = id
        self.config: dict[str, Any] = {"id": id, **config}
        self.operators: list[Operator] = []

    def path(self, path: str) -> Node:
        """Set what the node runs: a file, or a command."""
        return self._with(path=path)

    def args(self, args: str) -> Node:
        """Set its arguments."""
        return self._with(args=args)

    def env(self, env: dict[str, Any]) -> Node:
        """Set its environment."""
        return self._with(env=env)

    def build(self, build_command: str) -> Node:
        """Set the command that builds it."""
        return self._with(build=build_command)

    def git(
        self, url: str, branch: str | None = None, tag: str | None = None, rev: str | None = None
    ) -> Node:
        """Set the repository that it comes from."""
        given = {"branch": branch, "tag": tag, "rev": rev}
        return self._with(git=url, **{key: value for key, value in given.items() if value})

    def add_operator(self, operator: Operator) -> Node:
        """Add an operator."""
        self.operators.append(operator)
        return self

    def add_output(self, output_id: str) -> Output:
        """Declare an output, and give it, as a source for inputs of other nodes."""
        outputs = self.config.setdefault("outputs", [])
        if output_id not in outputs:
            outputs.append(output_id)
        return Output(self, output_id)

    def add_input(
        self,
        input_id: str,
        source: str | Output,
        queue_size: int | None = None,
        queue_policy: str | None = None,
    ) -> Node:
        """Let an input read `node/output`, a timer, or an output that `add_output` gave.

        Raises:
            ValueError: there is no such queue policy, or the queue could hold nothing.
        """
        if queue_policy is not None and queue_policy not in _QUEUE_POLICIES:
            raise ValueError(
                f"queue_policy must be one of {', '.join(_QUEUE_POLICIES)}, got {queue_policy!r}"
            )
        if queue_size is not None and queue_size < 1:
            raise ValueError(f"queue_size must be 1 or more, got {queue_size}")
        options = {"queue_size": queue_size, "queue_policy": queue_policy}
        given = {key: value for key, value in options.items() if value is not None}
        self.config.setdefault("inputs", {})[input_id] = (
            {"source": str(source), **given} if given else str(source)
        )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the node's entry in the file."""
        if not self.operators:
            return dict(self.config)
        return {**self.config, "operators": [operator.to_dict() for operator in self.operators]}

    def _with(self, **config: Any) -> Node:
        self.config.update(config)
        return self


class Operator:
    """An operator of a node."""

    def __init__(
        self,
        id: str,  # noqa: A002
        name: str | None = None,
        description: str | None = None,
        build: str | None = None,
        python: str | None = None,
        shared_library: str | None = None,
        send_stdout_as: str | None = None,
    ) -> None:
        self.id = id
        given = {
            "name": name,
            "description": description,
            "build": build,
            "python": python,
            "shared-library": shared_library,
            "send_stdout_as": send_stdout_as,
        }
        self.config: dict[str, Any] = {
            "id": id,
            **{key: value for key, value in given.items() if value},
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the operator's entry in the file."""
        return self.config
