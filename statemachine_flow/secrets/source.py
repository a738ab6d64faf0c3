"""Where the values of secrets come from. They are looked up when a step begins, and kept in memory alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import final

from statemachine_flow.errors import StepError, UsageError
from statemachine_flow.secrets.forms import secret_fault


@final
class Secrets(Mapping[str, str]):
    """Secrets by name; no repr shows a value.

    Example:
        >>> secrets = Secrets({"TOKEN": "hunter22"})
        >>> secrets, secrets["TOKEN"]
        (<Secrets: TOKEN>, 'hunter22')
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> str:
        if name not in self._values:
            raise KeyError(f"{name}: the step does not name it in its `secrets`")
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Secrets: {', '.join(self._values) or 'none'}>"


@final
class SecretSource:
    """Looks secrets up: first what was given to the run, then what was given to the engine, then the environment.

    Args:
        given: name -> value, for every run of the engine.
        environ: the environment; `os.environ` by default, as it is at the moment of asking.

    Raises:
        UsageError: a value cannot be a secret.

    Example:
        >>> source = SecretSource({"TOKEN": "for all runs"}, environ={})
        >>> source.give("r1", {"TOKEN": "for one run"})
        >>> source.value("r1", "TOKEN"), source.value("r2", "TOKEN")
        ('for one run', 'for all runs')
    """

    def __init__(self, given: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._given = dict(given or {})
        self._environ: Mapping[str, str] = os.environ if environ is None else environ
        self._of_runs: dict[str, dict[str, str]] = {}
        for name, value in self._given.items():
            if fault := secret_fault(value):
                raise UsageError(f"the secret '{name}' {fault}")

    def __repr__(self) -> str:
        return f"<SecretSource: {len(self._given)} given, {len(self._of_runs)} runs with their own>"

    def give(self, run_id: str, values: Mapping[str, str]) -> None:
        """Keep values for one run, beside those it was given before, until it is forgotten."""
        if values:
            self._of_runs.setdefault(run_id, {}).update(values)

    def forget(self, run_id: str) -> None:
        """Drop what was given to a run."""
        self._of_runs.pop(run_id, None)

    def find(self, run_id: str | None, name: str) -> str | None:
        """The value; None if there is none, or an empty one.

        Args:
            run_id: the run; None for one that has no id yet.
            name: the secret's name.

        Raises:
            StepError: `step.secret`, it is there and cannot be a secret.
        """
        of_run = self._of_runs.get(run_id, {}) if run_id is not None else {}
        value = of_run.get(name) or self._given.get(name) or self._environ.get(name)
        if not value:
            return None
        if fault := secret_fault(value):
            raise StepError(f"the secret '{name}' {fault}", kind="step.secret", name=_NAME)
        return value

    def value(self, run_id: str | None, name: str) -> str:
        """The value.

        Raises:
            StepError: `step.secret`, it is not there, or cannot be a secret.
        """
        value = self.find(run_id, name)
        if value is None:
            hint = f"set the environment variable {name}, or give Engine(secrets={{'{name}': ...}})"
            raise StepError(f"the secret '{name}' is not there", kind="step.secret", name=_NAME, hint=hint)
        return value


_NAME = "SecretError"
