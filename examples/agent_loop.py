"""An agent plans, a person says yes or asks for changes, then an agent builds until the checks pass.

    python3 examples/agent_loop.py [RUN]

Answer with Enter, or type what should be different, or `stop`. Leave it with Ctrl-C or Ctrl-D, or kill it: the same
command goes on where it was. The agents are scripted, so that this needs no network and no account; give `smf.Engine`
your own functions as `agents`, and nothing else changes.
"""

from __future__ import annotations

import ast
import sys
from typing import Any, Final

import statemachine_flow as smf

GOAL: Final = "a function `double` that doubles a number"


# --- the workflow


def build() -> smf.Workflow:
    """One token moves from step to step: plan, agree, build, check, end; and back where something is missing."""
    loop = smf.Workflow("agent-loop", start="plan", budget=smf.Budget(cost_usd=1.0))
    goal = loop.input("goal", default=GOAL)

    # `previous` is what the step itself said the last time; it is null the first time.
    words = "${{ default(steps.agree.output.wish, null) }}"
    loop.agent("plan", "planner", f"Plan {goal}.", with_={"plan": smf.Ref("previous"), "wish": words}, next="agree")
    loop.approval(
        "agree",
        f"Build this?\n{smf.Ref('steps.plan.output')}",
        choices=["build", "change", "stop"],
        form={"wish": "string"},
        next={"build": "build", "change": "plan", "stop": "end"},
        max_visits=5,
    )
    loop.agent(
        "build",
        "coder",
        f"Write {goal}. {smf.Ref('steps.plan.output')}",
        with_={"faults": "${{ default(steps.check.output.faults, []) }}"},
        output_schema={"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}},
        retry=smf.RetryPolicy(max_attempts=2, delay=0.05),  # an answer that breaks the schema is asked for again
        next="check",
    )
    loop.call(
        "check",
        check,
        with_={"code": smf.Ref("steps.build.output.code")},
        next=[{"when": "result.faults == []", "goto": "end"}, {"default": "build"}],
        max_visits=3,
    )
    loop.output("code", "${{ default(steps.build.output.code, null) }}")
    loop.output("rounds", "${{ default(steps.check.output.round, 0) }}")
    return loop


def check(code: str, context: smf.StepContext) -> dict[str, Any]:
    """What is missing in the code, which is read and not executed."""
    function = next((node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)), None)
    faults = ["there is no function `double`"] if function is None or function.name != "double" else []
    if function is not None and ast.get_docstring(function) is None:
        faults.append("it has no docstring")
    return {"faults": faults, "round": context.generation}


# --- the agents: any callable that takes a request and gives an answer


def planner(request: smf.AgentRequest) -> smf.AgentReply:
    """Plan; or take in a wish."""
    plan, wish = request.with_["plan"] or "1. Write it.", request.with_["wish"]
    lines = [*plan.splitlines(), f"{len(plan.splitlines()) + 1}. {wish}"] if wish else plan.splitlines()
    return smf.AgentReply("\n".join(lines), cost_usd=0.01, tokens=100)


def coder(request: smf.AgentRequest) -> smf.AgentReply:
    """Write it, the first time without its docstring. Text with a fenced block of JSON is an answer too."""
    doc = r"    \"\"\"Twice the number.\"\"\"\n" if request.with_["faults"] else ""
    code = rf"def double(number):\n{doc}    return 2 * number\n"
    return smf.AgentReply(f'Here it is:\n```json\n{{"code": "{code}"}}\n```\n', cost_usd=0.02, tokens=200)


AGENTS: Final = {"planner": planner, "coder": coder}


# --- at the terminal


def main() -> int:
    """Begin, or go on with the run of that id; return the exit status."""
    run_id = sys.argv[1] if len(sys.argv) > 1 else "agent-loop"
    with smf.Engine(agents=AGENTS) as engine:
        run = engine.run(build(), run_id=run_id)
        while run.waiting:
            (asked,) = run.waiting
            print(asked.question["prompt"])
            try:
                wish = input("Enter to build, or what to change, or stop: ").strip()
            except (EOFError, KeyboardInterrupt):
                print(f"\nThe run {run_id} waits; the same command goes on with it.")
                return 8
            choice = {"": "build", "stop": "stop"}.get(wish, "change")
            engine.approve(run_id, asked.path, choice=choice, form={"wish": wish if choice == "change" else None})
            run = engine.wait(run_id)
    if run.error is not None:
        print(f"it failed: {run.error.message}", file=sys.stderr)
        return 1
    print(f"{run.outputs['code'] or 'nothing'}\nafter {run.outputs['rounds']} rounds, for ${run.usage.cost_usd:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
