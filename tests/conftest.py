"""What all tests share: helpers with assertions in them say what differed, whichever suite imports them first."""

import pytest

pytest.register_assert_rewrite("tests.engine.harness")
