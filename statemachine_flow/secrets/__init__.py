"""Secrets: where their values come from, and how they are kept out of all that is stored, logged and shown.

Layout:
    source      looks a secret up, at the last moment
    forms       the ways a secret may be written: as it is, in JSON, in a URL, in base64, as Python shows it
    redactor    replaces all of them in values, texts and streams
"""

from __future__ import annotations

from statemachine_flow.secrets.forms import MIN_LENGTH, secret_fault
from statemachine_flow.secrets.redactor import MASK, NO_SECRETS, RedactingStream, Redactor
from statemachine_flow.secrets.source import Secrets, SecretSource

__all__ = ["MASK", "MIN_LENGTH", "NO_SECRETS", "RedactingStream", "Redactor", "SecretSource", "Secrets", "secret_fault"]
