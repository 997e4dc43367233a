"""Tell whether this machine has a GPU for `make bench-gpu`, before hundreds of MB are installed.

python -m benchmarks.gpu_driver
"""

from __future__ import annotations

import sys

from nodes.execution_providers import Driver, find_driver, has_nvidia_driver

NO_GPU = 2
"""The exit status of a machine without a GPU: nothing was measured."""


def main() -> int:
    """Say what is missing; give the exit status."""
    reason = explain_no_gpu(find_driver(), has_kernel_driver=has_nvidia_driver())
    if reason is None:
        return 0
    print(f"no GPU, so nothing is measured: {reason}", flush=True)
    return NO_GPU


def explain_no_gpu(driver: Driver, *, has_kernel_driver: bool) -> str | None:
    """Return why there is no GPU of NVIDIA to be had; None if there is one."""
    if driver.cuda is None:
        text = "libcuda.so.1, the driver of NVIDIA, is not installed"
        hint = " (in a container: `docker run --gpus all`, on a Jetson `--runtime nvidia`)"
        return text + hint if has_kernel_driver else text
    if driver.error:
        return f"the driver of NVIDIA answers {driver.error}"
    return None if driver.devices else "the driver of NVIDIA shows no GPU (CUDA_VISIBLE_DEVICES?)"


if __name__ == "__main__":
    sys.exit(main())
