"""Errors of models and pictures, one class for each remedy."""

from dora_rt.errors import DoraRtError


class ModelError(DoraRtError):
    """A model cannot be had, read, or understood; the message says what to do."""


class FrameError(DoraRtError, ValueError):
    """A picture is not one that a detector can look at; the next one may be."""
