"""How a model is to be run by onnxruntime, decided before and beside it: providers and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..execution_providers import COREML, CPU, CUDA, OPENVINO, TENSORRT
from .onnx_file import OnnxFacts

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "openvino", "coreml")

# Others are not used. TensorRT is not in "auto", although it is the fastest: it compiles
# each model for minutes at its first start, which looks like a node that hangs.
PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "auto": (CUDA, OPENVINO, COREML),
    "cpu": (),
    "cuda": (CUDA,),
    "tensorrt": (TENSORRT, CUDA),
    "openvino": (OPENVINO,),
    "coreml": (COREML,),
}
"""The providers of each device, the best first; the processor does what they cannot."""

_DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


class GraphRefusedError(Exception):
    """A model cannot be run as a CUDA graph; the message says why, in half a sentence."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One way to open a session.

    Attributes:
        providers: the best first, each with its options.
        is_bound: whether inputs and outputs stay at fixed addresses, as a CUDA graph needs it.
            On the processor that works as well and costs 0.3 ms for 416 x 416 pixels: `run` does
            not copy them.
    """

    providers: tuple[tuple[str, Mapping[str, str]], ...]
    is_bound: bool = False

    @property
    def first(self) -> str:
        """The provider that the plan is for."""
        return self.providers[0][0]

    @property
    def device(self) -> str:
        """Where the buffers are, as onnxruntime calls it."""
        return "cuda" if self.first == CUDA else "cpu"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a fixed shape."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic]


def make_plans(device: str, offered: Sequence[str]) -> Iterator[SessionPlan]:
    """Return the ways to run a model, in the order to try them; the processor is the last.

    Args:
        device: one of `DEVICES`.
        offered: the providers that the installed onnxruntime has.
    """
    chosen = [provider for provider in PROVIDERS[device] if provider in offered]
    for number, provider in enumerate(chosen):
        if provider == CUDA:
            # Alone: a graph has no place for the nodes of others, and the session says so then.
            graph = (CUDA, {"enable_cuda_graph": "1"})
            yield SessionPlan((graph, (CPU, {})), is_bound=True)
        rest = [*chosen[number:], CPU]
        yield SessionPlan(tuple((one, {}) for one in rest))
    yield SessionPlan(((CPU, {}),))


def fix_sizes(facts: OnnxFacts, shape: Sequence[int]) -> dict[str, int]:
    """Return the sizes for the names that a file gives to the open sizes of its inputs.

    With them onnxruntime knows all shapes that follow from the input's: a model that was exported
    for pictures of any size is as one for this size.

    Args:
        facts: of the file.
        shape: of the input.

    Raises:
        GraphRefusedError: a name stands for two sizes.
    """
    named = [(name, shape[at]) for at, name in facts.symbols.items()]
    named += [(name, (shape[0], 2)[at]) for at, name in facts.size_input_symbols.items() if at < 2]
    sizes: dict[str, int] = {}
    for name, size in named:
        if sizes.setdefault(name, size) != size:
            raise GraphRefusedError(f"the open size {name!r} of its inputs stands for two numbers")
    return sizes


def plan_tensors(found: Sequence[tuple[str, Sequence[int | str | None], str]]) -> list[Tensor]:
    """Return the buffers for inputs or outputs.

    Args:
        found: name, shape and type of each, as a session tells them.

    Raises:
        GraphRefusedError: a shape is known only after each run, or a type has no buffer.
    """
    tensors = []
    for name, shape, kind in found:
        sizes = tuple(size for size in shape if isinstance(size, int) and size >= 0)
        if len(sizes) != len(shape):
            raise GraphRefusedError(f"the size of {name!r} is not fixed, or depends on the picture")
        if kind not in _DTYPES:
            raise GraphRefusedError(f"{name!r} is of the type {kind}")
        tensors.append(Tensor(name, sizes, _DTYPES[kind]))
    return tensors
