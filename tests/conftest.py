"""What all tests share: helpers with assertions in them say what differed, whichever suite imports them first."""

import signal

import pytest

pytest.register_assert_rewrite("tests.engine.harness")

# Under `nohup` the tests, and every `smf` they start, would inherit an ignored SIGHUP, which `smf` rightly respects.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
