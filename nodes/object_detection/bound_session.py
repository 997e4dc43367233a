"""A session of onnxruntime with inputs and outputs at fixed addresses, as a CUDA graph needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .session_plan import GraphRefusedError, Tensor, plan_tensors

if TYPE_CHECKING:
    import onnxruntime

# A captured graph and single kernels compute the same, but perhaps not in the same order.
_TOLERANCE = 0.01


class BoundSession:
    """A session with buffers on a device, allocated once.

    On CUDA, with a session that has `enable_cuda_graph`, the first `run` captures the graph and all
    others replay it: one call launches the whole network. A replay reads and writes the addresses
    that it was captured with, so nothing else may be bound afterwards. Not for several threads.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        device: str,
    ) -> None:
        """Allocate the buffers.

        Args:
            session: the session.
            inputs: all inputs of it.
            outputs: those outputs that are wanted.
            device: "cuda", or "cpu".
        """
        import onnxruntime

        allocate = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._session = session
        self._is_on_cpu = device == "cpu"
        self._tensors = {tensor.name: tensor for tensor in inputs}
        self._inputs = {
            tensor.name: allocate(tensor.shape, tensor.dtype, device, 0) for tensor in inputs
        }
        self._outputs = [allocate(tensor.shape, tensor.dtype, device, 0) for tensor in outputs]
        self._binding = session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for tensor, value in zip(outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(tensor.name, value)
        self._kernel_by_kernel = onnxruntime.RunOptions()
        self._kernel_by_kernel.add_run_config_entry("gpu_graph_id", "-1")

    @classmethod
    def for_outputs(
        cls, session: onnxruntime.InferenceSession, names: Sequence[str], device: str
    ) -> BoundSession:
        """Allocate buffers for all inputs of a session and for the named outputs.

        Raises:
            GraphRefusedError: not all of them have fixed shapes.
        """
        inputs = [(one.name, one.shape, one.type) for one in session.get_inputs()]
        outputs = {one.name: (one.name, one.shape, one.type) for one in session.get_outputs()}
        return cls(
            session, plan_tensors(inputs), plan_tensors([outputs[name] for name in names]), device
        )

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Copy an array to an input.

        Raises:
            ValueError: it has another shape or type than the input.
        """
        tensor = self._tensors[name]
        # onnxruntime compares the number of elements only, and takes the bytes as they are.
        if array.shape != tensor.shape or array.dtype != tensor.dtype:
            raise ValueError(
                f"got {array.dtype} {array.shape} for the input {name!r}, expected"
                f" {np.dtype(tensor.dtype)} {tensor.shape}"
            )
        self._inputs[name].update_inplace(array)

    def run(self, *, is_graph: bool = True) -> list[NDArray[np.generic]]:
        """Compute the outputs from what was put.

        Args:
            is_graph: False launches kernel by kernel, also where there is a graph. onnxruntime
                older than 1.18 does not know that, and uses the graph all the same.
        """
        self._session.run_with_iobinding(
            self._binding, None if is_graph else self._kernel_by_kernel
        )
        outputs = [value.numpy() for value in self._outputs]
        # On the processor these are views of the buffers, and the next run writes there.
        return [output.copy() for output in outputs] if self._is_on_cpu else outputs

    def check_replay(self, name: str, picture: NDArray[np.generic]) -> None:
        """Capture the graph, and compare a replay with the same computed kernel by kernel.

        What is read on the processor while a graph is captured, a shape or a count, is the same
        in each replay. Such a network is found out here, and not by its wrong boxes.

        Args:
            name: of the picture input.
            picture: what it gets for the comparison.

        Raises:
            GraphRefusedError: the replay has other values.
        """
        self.put(name, picture)
        expected = self.run(is_graph=False)
        self.put(name, np.zeros_like(picture))
        self.run()
        self.put(name, picture)
        compare_outputs(expected, self.run())


def compare_outputs(
    expected: Sequence[NDArray[np.generic]], replayed: Sequence[NDArray[np.generic]]
) -> None:
    """Accept outputs that are the same but for rounding, and for the order of rows.

    Networks that end in a choice of the best rows (RT-DETR, YOLOv10) order those of equal
    confidence by the last bit, and in noise most are equal.

    Raises:
        GraphRefusedError: they are not.
    """
    for one, other in zip(expected, replayed, strict=True):
        if one.shape != other.shape or not np.allclose(
            _in_order(other), _in_order(one), rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
        ):
            raise GraphRefusedError("a replay of it gives other values than the network itself")


def _in_order(output: NDArray[np.generic]) -> NDArray[np.float64]:
    columns = output.shape[-1] if output.ndim > 2 and output.size else 1
    return np.sort(output.astype(np.float64).reshape(-1, columns), axis=0)
