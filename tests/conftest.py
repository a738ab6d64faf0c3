"""What all tests share: helpers with assertions in them say what differed, whichever suite imports them first."""

import signal

import pytest

pytest.register_assert_rewrite("tests.engine.harness")

# Under `nohup`, and behind the `&` of a script, the tests and every `smf` they start would inherit ignored signals,
# which `smf` rightly respects.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
