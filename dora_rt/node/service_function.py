"""A function of the program that answers the requests of a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dora_rt.errors import ExtraMissingError, SentAfterStopError, UnsupportedValueError
from dora_rt.event import Request

if TYPE_CHECKING:
    from dora_rt.node.calls import Calls

ServiceFunction = Callable[[Request], Any]


def answer_by(function: ServiceFunction, request: Request, calls: Calls) -> None:
    """Reply what a function returns; what it raises is logged, and refuses the request."""
    with calls.session.origins.answering(request):
        try:
            value = function(request)
        except Exception as error:
            _report(request, error, calls)
            return
        if request.is_answered:
            return
        try:
            calls.reply(request, value, None)
        except (UnsupportedValueError, ExtraMissingError) as error:
            _report(request, error, calls)
        except SentAfterStopError:
            pass  # it was told to stop while the function waited; so was the client


def _report(request: Request, error: Exception, calls: Calls) -> None:
    if calls.is_stopped:
        return  # it had to break off
    # Here: the import leaves a function for the end of the process, and every node imports this.
    import logging

    logger = logging.getLogger(__name__)
    logger.error(
        "%s: the function that serves %r failed", calls.where, request.service, exc_info=error
    )
    if not request.is_answered:
        calls.refuse(request, f"{type(error).__name__}: {error}")
