"""Run an ONNX file with onnxruntime, on the best device that works."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..execution_providers import (
    COREML,
    CPU,
    CUDA,
    PACKAGES,
    Unused,
    explain_absence,
    explain_failure,
    has_nvidia_driver,
    is_built_in,
    load_cuda_libraries,
)
from .bound_session import BoundSession
from .errors import ModelError
from .network_input import Blob, input_sizes_of
from .onnx_file import OnnxFacts
from .session_plan import PROVIDERS, GraphRefusedError, SessionPlan, fix_sizes, make_plans

if TYPE_CHECKING:
    import onnxruntime

_ORT_PREFIX = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?(/\S+ )?"
)
_OPSET = "yolo export model=best.pt format=onnx opset=17"
_WORST_CHARACTERS = 300

_logger = logging.getLogger(__name__)


class OnnxRuntimeNetwork:
    """A model in onnxruntime, on the first provider that works.

    Attributes:
        backend: "onnxruntime".
        provider: what computes.
        is_bound: whether inputs and outputs stay at fixed addresses; on CUDA it is a graph then.
    """

    backend = "onnxruntime"

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        facts: OnnxFacts,
        bound: BoundSession | None = None,
    ) -> None:
        self._session = session
        self._input_name = facts.input_name
        self._size_input_name = facts.size_input_name
        self._size_input_dtype = facts.size_input_dtype
        self._output_names = facts.output_names
        self._bound = bound
        self.provider: str = session.get_providers()[0]
        self.is_bound = bound is not None

    @classmethod
    def open(
        cls,
        path: Path,
        facts: OnnxFacts,
        shape: tuple[int, ...],
        *,
        device: str,
        threads: int | None,
    ) -> OnnxRuntimeNetwork:
        """Load a model, and say of each provider that does not run it why.

        Args:
            path: of the model.
            facts: of its file.
            shape: of all blobs that it will be run with.
            device: one of `session_plan.DEVICES`.
            threads: processor threads; None for as many as onnxruntime likes.

        Raises:
            ModelError: onnxruntime cannot read it.
            ImportError: onnxruntime is not installed.
        """
        import onnxruntime

        if CUDA in PROVIDERS[device] and (said := load_cuda_libraries(onnxruntime)):
            _logger.debug("%s", said)
        offered = onnxruntime.get_available_providers()
        failed: dict[str, str] = {}
        no_graph = ""
        for plan in make_plans(device, offered):
            if plan.first in failed:
                continue
            try:
                network = cls.open_as(plan, path, facts, shape, threads)
            except GraphRefusedError as error:
                no_graph = str(error)
                continue
            except Exception as error:
                # onnxruntime's exceptions have no common base but Exception
                # (onnxruntime_pybind11_state.Fail, InvalidGraph, NotImplemented, ...).
                if plan.first == CPU:
                    raise ModelError(f"{path}: {explain_refusal(str(error), facts)}") from error
                failed[plan.first] = one_line(error)
                continue
            if network.provider == plan.first:
                break
            failed[plan.first] = ""
        unused = find_unused(device, network.provider, offered, failed)
        for level, line in provider_lines(
            device, network.provider, unused, has_gpu=has_nvidia_driver()
        ):
            _logger.log(level, "%s", line)
        if network.provider == CUDA:
            _tell_graph(no_graph)
        return network

    @classmethod
    def open_as(
        cls,
        plan: SessionPlan,
        path: Path,
        facts: OnnxFacts,
        shape: tuple[int, ...],
        threads: int | None,
    ) -> OnnxRuntimeNetwork:
        """Open a session by a plan; on anything but the processor run it as well.

        Raises:
            GraphRefusedError: the plan is one with fixed addresses, and that does not work.
            Exception: anything that onnxruntime raises.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Without this the threads spin between two frames: 45 ms of processor time for a frame
        # instead of 17 at 30 frames/s, for nothing. Never to spin costs 4 ms of latency.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        if plan.is_bound:
            for name, size in fix_sizes(facts, shape).items():
                options.add_free_dimension_override_by_name(name, size)
        try:
            session = onnxruntime.InferenceSession(
                str(path),
                sess_options=options,
                providers=[(name, dict(chosen)) for name, chosen in plan.providers],
                # It would print about it, and try others than the plan's.
                enable_fallback=0,
            )
            if session.get_providers()[0] != plan.first:
                return cls(session, facts)
            if plan.is_bound:
                return cls(session, facts, _bind(session, facts, shape, plan.device))
        except GraphRefusedError:
            raise
        except Exception as error:
            if plan.is_bound:
                raise GraphRefusedError(explain_graph_refusal(one_line(error))) from error
            raise
        network = cls(session, facts)
        if plan.first != CPU:
            # Libraries that are missing show with the first kernel that needs them.
            network._compute(np.zeros(shape, facts.input_dtype), facts.output_names)
            # From now on a provider that breaks gives place to the processor.
            session.enable_fallback()
        return network

    def run(self, blob: Blob, names: Sequence[str]) -> list[NDArray[np.generic]]:
        """Return outputs of the model for a blob."""
        try:
            return self._compute(blob, names)
        except Exception as error:  # as in open
            raise ModelError(f"onnxruntime cannot run this model: {one_line(error)}") from error

    def check_replay(self, blob: Blob) -> None:
        """Compare what a CUDA graph makes of a blob with the network launched kernel by kernel.

        Raises:
            GraphRefusedError: it makes something else.
        """
        if self._bound is not None:
            self._bound.check_replay(self._input_name, blob)

    def _compute(self, blob: Blob, names: Sequence[str]) -> list[NDArray[np.generic]]:
        if self._bound is not None:
            self._bound.put(self._input_name, blob)
            outputs = dict(zip(self._output_names, self._bound.run(), strict=True))
            return [outputs[name] for name in names]
        feeds: dict[str, NDArray[np.generic]] = {self._input_name: blob}
        if self._size_input_name is not None:
            feeds[self._size_input_name] = input_sizes_of(blob, self._size_input_dtype)
        return list(self._session.run(list(names), feeds))


def find_unused(
    device: str, used: str, offered: Sequence[str], failed: Mapping[str, str]
) -> list[Unused]:
    """Return the providers that come before the one that runs the model, each with the reason.

    Args:
        device: the one asked for.
        used: the provider that runs it.
        offered: those that the installed onnxruntime has.
        failed: those that did not start, with what onnxruntime said.
    """
    import onnxruntime

    unused = []
    for provider in PROVIDERS[device]:
        if provider == used:
            break
        if is_built_in(onnxruntime, provider, offered):
            unused.append(explain_failure(onnxruntime, provider, failed.get(provider, "")))
        elif not (provider == COREML and device == "auto"):
            unused.append(explain_absence(provider, onnxruntime.__version__))
    return unused


def provider_lines(
    device: str, provider: str, unused: Sequence[Unused], *, has_gpu: bool
) -> Iterator[tuple[int, str]]:
    """Return a level and a line for what the user should know of providers that are not used.

    Args:
        device: the one asked for.
        provider: the one that runs the model.
        unused: those that do not.
        has_gpu: whether this machine has a GPU of NVIDIA.
    """
    is_wish = device != "auto" and provider not in PROVIDERS[device]
    wish = f"{device} was asked for, but " if is_wish else ""
    quiet = []
    for one in unused:
        if one.is_built_in or is_wish or (has_gpu and one.provider == CUDA):
            remedy = f" ({one.remedy})" if one.remedy else ""
            yield logging.WARNING, f"{wish}{one}: detecting on {provider} instead{remedy}"
        else:
            quiet.append(one)
    if quiet:
        names = " and ".join(one.provider for one in quiet)
        packages = " and ".join(dict.fromkeys(PACKAGES[one.provider] for one in quiet))
        have = "has it" if len(quiet) == 1 else "have them"
        yield logging.INFO, f"not used: {names}: {quiet[0].reason} ({packages} {have})"


def _tell_graph(refusal: str) -> None:
    if refusal:
        _logger.info("no CUDA graph: %s; its operators are launched one by one", refusal)
    else:
        _logger.info("the network is one CUDA graph: a single call launches all its operators")


def _bind(
    session: onnxruntime.InferenceSession, facts: OnnxFacts, shape: tuple[int, ...], device: str
) -> BoundSession:
    """Give a session its buffers; on a GPU let it capture its graph.

    Raises:
        GraphRefusedError: the shapes are not fixed, or the replay is wrong.
    """
    bound = BoundSession.for_outputs(session, facts.output_names, device)
    if facts.size_input_name is not None:
        sizes = input_sizes_of(np.zeros(shape, facts.input_dtype), facts.size_input_dtype)
        bound.put(facts.size_input_name, sizes)
    noise = np.random.default_rng(0).random(shape, np.float32).astype(facts.input_dtype)
    bound.check_replay(facts.input_name, noise)
    return bound


def explain_refusal(error: str, facts: OnnxFacts) -> str:
    """Return why onnxruntime cannot load a model, in one line with the way out."""
    import onnxruntime

    text = _ORT_PREFIX.sub("", " ".join(error.split()))
    way_out = f"`pip install -U onnxruntime`, or export it for an older one ({_OPSET})"
    runtime = f"onnxruntime {onnxruntime.__version__}"
    if "IR version" in text:
        newest = re.search(r"max supported IR version: (\d+)", text)
        until = f", and this {runtime} reads up to {newest.group(1)}" if newest else ""
        return f"it is an ONNX file of IR version {facts.ir_version}{until}: {way_out}"
    if "opset" in text.lower() and "support" in text:
        newest = re.search(r"(?:till|until) opset (\d+)", text)
        until = f", and this {runtime} knows up to {newest.group(1)}" if newest else ""
        return f"it is an ONNX file of opset {facts.opset}{until}: {way_out}"
    if "is not a registered function/op" in text or "No Op registered for" in text:
        return (
            f"onnxruntime cannot load this model, for it lacks one of its operators: {text}; if it"
            " is one of a plugin (TensorRT's EfficientNMS, MMDeploy), export without it, else"
            f" {way_out}"
        )
    return f"onnxruntime cannot load this model: {text[:_WORST_CHARACTERS]}"


def explain_graph_refusal(error: str) -> str:
    """Return why onnxruntime does not capture a network as a CUDA graph, in half a sentence."""
    if "control flow" in error:
        return "it has control flow (If, Loop, Scan), which a graph cannot hold"
    if "partitioned to" in error or "assigned to" in error:
        return "some of its operators run on the processor"
    return error


def one_line(error: Exception) -> str:
    """Return the text of an exception in one line of bearable length."""
    return _ORT_PREFIX.sub("", " ".join(str(error).split()))[:_WORST_CHARACTERS]
