"""Fixtures of the adversarial cases: the command line as its own suite has it."""

from __future__ import annotations

from tests.cli.conftest import command, folder, process, run_of, smf, start

__all__ = ["command", "folder", "process", "run_of", "smf", "start"]
