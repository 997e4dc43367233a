"""Whether the packages that the dashboard needs are installed: those of the extra `[web]`."""

from importlib.util import find_spec

MISSING_EXTRA = (
    "the dashboard needs starlette and uvicorn, which are not installed: pip install 'dora_rt[web]'"
)


def is_installed() -> bool:
    """Whether both packages are installed; nothing is imported."""
    return find_spec("starlette") is not None and find_spec("uvicorn") is not None
