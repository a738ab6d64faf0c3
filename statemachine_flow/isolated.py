"""The process of one isolated function: read what is to be called, call it, and say how that ended.

Started by `executors.isolated`. What the function prints goes to the engine's stderr: stdout is the way back.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, final

from statemachine_flow.context import StepContext
from statemachine_flow.executors.faults import fault_of
from statemachine_flow.executors.messages import (
    EXIT_CUT_OFF,
    Logged,
    Message,
    Raised,
    Request,
    Returned,
    decode_request,
    framed,
)
from statemachine_flow.functions import import_function
from statemachine_flow.values import decode_value, encode_value

_EXIT_BY_TERM: Final = 128 + 15


def main() -> None:
    """Answer the one request that stdin holds."""
    way_back, own = _WayBack(), os.getpid()
    request = decode_request(sys.stdin.buffer.read())
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    lock = threading.Lock()

    def send(message: Message) -> None:
        with lock:
            way_back.write(framed(message))

    context = StepContext(**request.context)
    _stop_on_term(context)
    _log_to(send, request.log_level)
    try:
        answer: Message = Returned(encode_value(_call(request, context)))
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the outcome of the attempt
        answer = Raised.of(fault_of(error))
    if os.getpid() != own:
        return  # what the function forked came back here: only one answer counts, and it is not this
    # The function has nothing to clean up any more; in Python's own end, such as its wait for threads that were left,
    # an exception would be printed.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        send(answer)
    except BrokenPipeError:
        pass  # the engine is gone
    except OSError:  # there is nobody to tell but by this
        sys.exit(EXIT_CUT_OFF)
    finally:
        _flush()


@final
class _WayBack:
    """The way to the engine, apart from what is printed: that goes to stderr from now on.

    It is no file of Python's: that would complain when it is collected, should the function have closed it.
    """

    def __init__(self) -> None:
        self._descriptor = os.dup(1)
        self._identity = self._look()
        os.dup2(2, 1)

    def _look(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def write(self, data: bytes) -> None:
        """Say something.

        Raises:
            OSError: the engine is gone, or the function has closed descriptors that were not its own.
        """
        if self._look() != self._identity:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # by now it is a file of the function's
        unsaid = memoryview(data)
        while unsaid:
            unsaid = unsaid[os.write(self._descriptor, unsaid) :]


def _flush() -> None:
    """Let go of what can no longer be printed, which Python would complain of at its end."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except Exception:  # noqa: BLE001 - the function closed it, took it away, or put something of its own there
            setattr(sys, name, None)


def _call(request: Request, context: StepContext) -> Any:
    function: Callable[..., Any] = import_function(request.function)
    arguments = decode_value(request.arguments)
    if request.context_parameter is not None:
        arguments[request.context_parameter] = context
    result = function(**arguments)
    if not inspect.isawaitable(result):
        return result
    import asyncio  # noqa: PLC0415 - half of the time that the process takes to start, and few need it

    return asyncio.run(_awaited(result))


async def _awaited(result: Any) -> Any:
    return await result


def _stop_on_term(context: StepContext) -> None:
    """Asked to end, let the function notice, and clean up, in the grace it has."""

    def stop(_number: int, _frame: Any) -> None:
        context.stop_reason = context.stop_reason or "cancel"
        raise SystemExit(_EXIT_BY_TERM)

    signal.signal(signal.SIGTERM, stop)


def _log_to(send: Callable[[Message], None], level: int) -> None:
    """Have the engine log what the function logs with its context."""
    # What a context logs with hands on to the one of this name, which alone has handlers.
    logger = logging.getLogger(StepContext(run_id="", workflow="", step_id="", attempt=1).logger.logger.name)
    logger.handlers, logger.propagate = [_Sender(send)], False
    logger.setLevel(level)


@final
class _Sender(logging.Handler):
    """Sends records on, as text."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(Logged(record.levelno, self.format(record).encode("utf-8", "surrogatepass")))
        except OSError:
            pass  # the engine is gone, or the function has closed the way to it
        except Exception:  # noqa: BLE001 - as in any handler: logging says so, and the function goes on
            self.handleError(record)
