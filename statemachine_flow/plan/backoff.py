"""How long a failed step waits for its next attempt. Pure."""

from __future__ import annotations

from typing import Any

from statemachine_flow.model import RetryPolicy


def backoff_delay(policy: RetryPolicy, failures: int, random: Any) -> float:
    """How long to wait before the attempt that follows the `failures`-th failure.

    Exponential growth with a cap and full jitter: "Exponential Backoff And Jitter", M. Brooker, AWS Architecture
    Blog, 2015.

    Args:
        policy: the step's policy.
        failures: how many attempts have failed, from 1.
        random: a `random.Random`, used for jitter only.

    Returns:
        Seconds.

    Example:
        >>> backoff_delay(RetryPolicy(max_attempts=9, delay=2.0, max_delay=10.0, jitter="none"), 4, None)
        10.0
    """
    delay = policy.delay
    if policy.backoff == "exponential":
        # Growth stops at the cap, so a large exponent never overflows.
        for _ in range(failures - 1):
            if delay >= policy.max_delay:
                break
            delay *= policy.factor
    delay = min(delay, policy.max_delay)
    return random.uniform(0, delay) if policy.jitter == "full" else delay
