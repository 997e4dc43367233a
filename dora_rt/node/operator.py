"""Load and call operators: classes with `on_input`, or with the `on_event` of dora.

An operator is a class `Operator` without arguments, with:
    on_input(dora_input, send_output): called for each sample, in one thread. `dora_input` is a
        dict: `id` (str), `data` (as `Event.value`), `metadata` (dict). `send_output(output_id,
        data, metadata=None)` raises what `Node.send_output` raises, and NodeClosedError when the
        operator has ended. It returns a `DoraStatus`. An exception of it ends the process.
    drop_operator(): optional, called once at the end, also after an exception.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from dora_rt.errors import OperatorError
from dora_rt.event import DoraStatus
from dora_rt.node.operator_modules import OPERATOR_PREFIX
from dora_rt.node_config import OperatorConfig

SendOutput = Callable[..., None]

_EVENT_METHOD = "on_event"
# An operator with both was written for a dora that calls the first one.
_METHODS = (_EVENT_METHOD, "on_input")


class LoadedOperator:
    """One instance of a user's `Operator` class."""

    def __init__(self, name: str, instance: Any, method: str) -> None:
        self.name = name
        self.uses_event_dicts = method == _EVENT_METHOD
        """True if it has `on_event`, which gets the event dicts of dora 1.x."""
        self._instance = instance
        self._method = method
        self._call = getattr(instance, method)

    @classmethod
    def load(cls, config: OperatorConfig, description_path: str | None) -> LoadedOperator:
        """Import the module and make its operator.

        Args:
            config: its name, and its file or module.
            description_path: file with the description of the dataflow, which operators with
                `on_event` get as `self.dataflow_descriptor`.

        Raises:
            OperatorError: the import failed, or there is no class `Operator` with `on_input` or
                `on_event`, or its constructor raised; names the operator.
        """
        where = f"operator {config.name!r} ({config.path or config.module})"
        try:
            module = _import(config)
        except Exception as error:
            raise OperatorError(f"{where} cannot be imported: {_in_words(error)}") from error
        operator_class = getattr(module, "Operator", None)
        if operator_class is None:
            raise OperatorError(f"{where} has no class `Operator`")
        methods = [name for name in _METHODS if callable(getattr(operator_class, name, None))]
        if not methods:
            raise OperatorError(
                f"{where}: its class Operator has no method `on_input(self, dora_input, "
                "send_output)`, nor dora's `on_event(self, dora_event, send_output)`"
            )
        try:
            instance = operator_class()
        except Exception as error:
            raise OperatorError(f"{where}: Operator() raised {_in_words(error)}") from error
        if methods[0] == _EVENT_METHOD and description_path is not None:
            instance.dataflow_descriptor = json.loads(Path(description_path).read_text())
        return cls(config.name, instance, methods[0])

    @classmethod
    def of(cls, instance: Any) -> LoadedOperator:
        """Wrap an instance of an operator's class.

        Raises:
            OperatorError: it has neither `on_input` nor `on_event`.
        """
        name = type(instance).__name__
        for method in _METHODS:
            if callable(getattr(instance, method, None)):
                return cls(name, instance, method)
        raise OperatorError(f"{name} has neither a method `on_input` nor `on_event`")

    def call(self, argument: dict[str, Any], send_output: SendOutput) -> DoraStatus:
        """Let the operator handle an input, or an event.

        Raises:
            OperatorError: it raised, or did not return a status.
        """
        kind = argument.get("type", "INPUT")
        occasion = f"input {argument['id']!r}" if kind == "INPUT" else kind
        try:
            returned = self._call(argument, send_output)
        except Exception as error:
            raise OperatorError(
                f"operator {self.name!r}: {self._method} raised on {occasion}: {_in_words(error)}"
            ) from error
        # Programs of 2022 define a DoraStatus of their own: its number is what counts.
        value = getattr(returned, "value", None)
        if type(value) is not int or not 0 <= value <= 2:
            raise OperatorError(
                f"operator {self.name!r}: {self._method} returned {returned!r} on {occasion}; "
                "expected DoraStatus.CONTINUE, STOP or STOP_ALL (from dora_rt import DoraStatus)"
            )
        return DoraStatus(value)

    def drop(self) -> None:
        """Let the operator clean up: `drop_operator()` if it has one, and `__del__`.

        Raises:
            OperatorError: `drop_operator` raised.
        """
        instance, self._instance, self._call = self._instance, None, None
        drop_operator = getattr(instance, "drop_operator", None)
        if drop_operator is not None:
            try:
                drop_operator()
            except Exception as error:
                raise OperatorError(
                    f"operator {self.name!r}: drop_operator raised {_in_words(error)}"
                ) from error


def _import(config: OperatorConfig) -> ModuleType:
    if config.path is None:
        assert config.module is not None, "an operator has a path or a module"
        return importlib.import_module(config.module)
    path = Path(config.path).resolve()
    # Two operators may have files of the same name in different folders.
    name = f"{OPERATOR_PREFIX}{path.parent.name}_{path.stem}_{abs(hash(str(path))):x}"
    name = name.replace(".", "_")
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
