"""The methods that add steps: the same for workflows, groups and handlers."""

from __future__ import annotations

import datetime as dt
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar, final

from statemachine_flow.builder.forms import (
    OPTIONS,
    Duration,
    duration,
    moment,
    noun,
    plain,
    several,
    step_fields,
    step_name,
    without_none,
)
from statemachine_flow.builder.refs import Ref, Referable
from statemachine_flow.errors import UsageError
from statemachine_flow.functions import Function
from statemachine_flow.model import Definition, Input
from statemachine_flow.steps.approval import Deadline, Rewind

_F = TypeVar("_F", bound=Callable[..., Any])


class Level:
    """Something that steps can be added to."""

    @property
    @abstractmethod
    def _steps(self) -> dict[str, Any]:
        """The steps as a document holds them, by id; functions stand where their names will."""

    @abstractmethod
    def _changed(self) -> None:
        """Forget what was made of the document."""

    def call(
        self,
        step_id: str,
        function: Function | str,
        *,
        with_: Mapping[str, Any] | None = None,
        transaction: bool | None = None,
        isolation: Literal["thread", "process", "inline"] | None = None,
        **options: Any,
    ) -> Ref:
        """Add a step that calls a Python function.

        Args:
            step_id: unique in its level.
            function: the function, or its name as a document would write it.
            with_: its keyword arguments; references keep the type of their value.
            transaction: whether it runs inside the transaction that keeps its result.
            isolation: where it is called: in a `"thread"`, as by default; in a `"process"` of its own, which can be
                ended and whose death is only its attempt's; `"inline"`, on the engine's loop, for the tiniest.
            **options: `needs`, `when`, `timeout`, `retry`, `for_each`, `matrix`, `repeat`, `next`, `outputs`,
                `output_schema`, `compensate`, `verify` and all else a step of a document may have. Steps that are
                referred to need not be listed in `needs`; `compensate` and `verify` take functions; times may be
                seconds or a timedelta; `for_each` may be nothing but the items.

        Returns:
            The reference to the step: `.output`, `.outputs`, `.state`, `.error`.

        Raises:
            UsageError: the id is taken, or an option does not exist.
        """
        verb = {"call": function, **without_none(with_=plain(with_), transaction=transaction, isolation=isolation)}
        return self._add_step(step_id, verb, options)

    def step(self, step_id: str | None = None, **options: Any) -> Callable[[_F], _F]:
        """Decorate a function to add a step that calls it; the function stays what it is.

        Args:
            step_id: by default the function's name.
            **options: as for `call`, `with_` included.

        Example:
            >>> from statemachine_flow import Workflow
            >>> workflow = Workflow("double")
            >>> @workflow.step(with_={"x": 21})
            ... def double(x: int) -> int:
            ...     return 2 * x
            >>> double(4), workflow["double"].output
            (8, <Ref steps.double.output>)
        """

        def decorate(function: _F) -> _F:
            self.call(step_id or function.__name__, function, **options)
            return function

        return decorate

    def run(
        self,
        step_id: str,
        command: str | Sequence[Any],
        *,
        env: Mapping[str, Any] | None = None,
        cwd: Any = None,
        allow_exit: Sequence[int] | None = None,
        **options: Any,
    ) -> Ref:
        """Add a step that runs a command.

        Args:
            step_id: unique in its level.
            command: a list is an argument vector without a shell; text goes to the shell.
            env: added to the few variables that a command inherits.
            cwd: relative to the directory the run is started in.
            allow_exit: exit statuses that are no failure; 0 alone by default.
            **options: as for `call`.

        Returns:
            The reference to the step.
        """
        given = without_none(env=plain(env), cwd=plain(cwd), allow_exit=plain(allow_exit))
        return self._add_step(step_id, {"run": plain(command), **given}, options)

    def agent(
        self, step_id: str, agent: str, prompt: Any, *, with_: Mapping[str, Any] | None = None, **options: Any
    ) -> Ref:
        """Add a step that asks an agent.

        Args:
            step_id: unique in its level.
            agent: its name, as the engine knows it.
            prompt: what it is asked.
            with_: whatever else it takes.
            **options: as for `call`.

        Returns:
            The reference to the step.

        Example:
            >>> import statemachine_flow as smf
            >>> workflow = smf.Workflow("review")
            >>> files = workflow.input("files", "array")
            >>> _ = workflow.agent("review", "reviewer", f"Review {smf.Ref('item')}.", for_each=files)
            >>> workflow.definition.step("review").for_each.items
            '${{ inputs.files }}'
        """
        verb = {"agent": agent, "prompt": plain(prompt), **without_none(with_=plain(with_))}
        return self._add_step(step_id, verb, options)

    def child(
        self,
        step_id: str,
        workflow: Level | Definition | str | os.PathLike[str],
        *,
        with_: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Ref:
        """Add a step that runs another workflow.

        Args:
            step_id: unique in its level.
            workflow: a `Workflow` or a definition, which is taken in as it is now; the name of one that the engine
                is given; or the path of a document beside this one.
            with_: its inputs.
            **options: as for `call`.

        Returns:
            The reference to the step; its outputs are those of the workflow.
        """
        inline = getattr(type(workflow), "_inline", None)
        if inline is not None:
            given: Any = inline(workflow)
        else:
            given = workflow.tree() if isinstance(workflow, Definition) else plain(workflow)
        return self._add_step(step_id, {"workflow": given, **without_none(with_=plain(with_))}, options)

    def approval(
        self,
        step_id: str,
        prompt: Any,
        *,
        approvers: str | Sequence[str] | None = None,
        form: Mapping[str, str | Input | Mapping[str, Any]] | None = None,
        choices: Sequence[str] | None = None,
        deadline: Deadline | Mapping[str, Any] | None = None,
        on_reject: Rewind | Mapping[str, Any] | str | None = None,
        **options: Any,
    ) -> Ref:
        """Add a step that asks a person.

        Args:
            step_id: unique in its level.
            prompt: what the person reads.
            approvers: who may decide; by default everybody.
            form: fields to be filled in, each a type or what an input has.
            choices: what can be decided, by default "approve" and "reject".
            deadline: `after` what time which choice is taken by itself.
            on_reject: `"fail"`, `"skip"`, or `{"rewind_to": step, "max_rounds": 3}`.
            **options: as for `call`, but for `timeout` and `retry`.

        Returns:
            The reference to the step: `.output.decision`, the fields of the form, `.output.by`.
        """
        question = {
            "prompt": plain(prompt),
            **without_none(
                approvers=several(approvers),
                form=plain(form),
                choices=plain(choices),
                deadline=noun(deadline),
                on_reject=noun(on_reject),
            ),
        }
        return self._add_step(step_id, {"approval": question}, options)

    def wait(
        self,
        step_id: str,
        for_: Duration | Ref | None = None,
        *,
        until: str | dt.datetime | Ref | None = None,
        event: str | None = None,
        key: Any = None,
        timeout: Duration | None = None,
        then: Literal["fail", "complete"] | None = None,
        **options: Any,
    ) -> Ref:
        """Add a step that waits: for some time, until a moment, or for a signal.

        Args:
            step_id: unique in its level.
            for_: how long.
            until: a moment, with its offset from UTC.
            event: the name of a signal.
            key: which signal of that name.
            timeout: how long a signal is waited for.
            then: what follows when it did not come; "fail" by default.
            **options: as for `call`, but for `retry`.

        Returns:
            The reference to the step; its output is what the signal carried.
        """
        waiting = without_none(
            for_=plain(for_) if isinstance(for_, Ref) else duration(for_),
            until=moment(until),
            event=event,
            key=plain(key),
            timeout=duration(timeout),
            then=then,
        )
        return self._add_step(step_id, {"wait": waiting}, options)

    def group(self, step_id: str, *, start: str | Ref | None = None, **options: Any) -> Group:
        """Add a step that holds steps.

        Args:
            step_id: unique in its level.
            start: the step that a group of states begins with.
            **options: as for `call`.

        Returns:
            The group, which steps are added to like to a workflow, perhaps inside a `with`.

        Example:
            >>> from statemachine_flow import Workflow
            >>> workflow = Workflow("checks")
            >>> with workflow.group("ci", timeout="10m") as ci:
            ...     lint = ci.run("lint", ["ruff", "check"])
            ...     _ = ci.run("report", ["echo", lint.output.stdout])
            >>> workflow.output("lint", ci.output.lint.stdout)
            >>> workflow.definition.step("ci").verb.steps[1].needs
            ('lint',)
        """
        steps: dict[str, Any] = {}
        self._add_step(step_id, {**without_none(start=step_name(start)), "steps": steps}, options)
        return Group(step_id, steps, self._changed)

    def __getitem__(self, step_id: str) -> Ref:
        """The reference to a step that was added here.

        Raises:
            UsageError: there is no such step.
        """
        if step_id not in self._steps:
            raise UsageError(f"there is no step {step_id!r} here")
        return Ref("steps")[step_id]

    def _add_step(self, step_id: str, verb: dict[str, Any], options: Mapping[str, Any]) -> Ref:
        unknown = sorted(set(options) - OPTIONS)
        if unknown:
            raise UsageError(f"a step has no option {unknown[0]!r}", hint=f"options: {', '.join(sorted(OPTIONS))}")
        step = {**step_fields(options), **verb}
        if step_id in self._steps:
            raise UsageError(f"the workflow already has {step_id!r} among its steps")
        self._steps[step_id] = step
        self._changed()
        return Ref("steps")[step_id]


class Handlers(Level):
    """The steps that handle the end of a run."""

    def __init__(self, steps: dict[str, Any], changed: Callable[[], None]) -> None:
        self.__steps = steps
        self.__changed = changed

    @property
    def _steps(self) -> dict[str, Any]:
        return self.__steps

    def _changed(self) -> None:
        self.__changed()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._steps)} steps>"


@final
class Group(Handlers, Referable):
    """A step that holds steps: `ci["lint"]` is one of them, `ci.output` is what steps beside the group can read."""

    def __init__(self, step_id: str, steps: dict[str, Any], changed: Callable[[], None]) -> None:
        super().__init__(steps, changed)
        self._ref = Ref("steps")[step_id]

    @property
    def ref(self) -> Ref:
        """The reference to the group as a step."""
        return self._ref

    @property
    def output(self) -> Ref:
        """A mapping of the ids of the steps inside to their outputs."""
        return self._ref.output

    @property
    def outputs(self) -> Ref:
        """What the group declares as outputs."""
        return self._ref.outputs

    @property
    def state(self) -> Ref:
        """The state of the group."""
        return self._ref.state

    @property
    def error(self) -> Ref:
        """Why the group failed."""
        return self._ref.error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be closed; the block only shows what belongs together."""
