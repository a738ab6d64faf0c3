"""Invalid documents, with every problem each must be told about: its kind, its path and its line."""

from __future__ import annotations

import attrs


@attrs.frozen
class Case:
    text: str
    #: `kind path line` per problem, in the order of the text; the path of the whole document is `-`.
    problems: tuple[str, ...]

    @property
    def format(self) -> str:
        return "yaml" if self.text.startswith("dsl:") else "toml"


def case(text: str, *problems: str) -> Case:
    return Case(text, problems)


def toml(body: str) -> str:
    """The body begins on line 3."""
    return 'dsl = "1"\nname = "w"\n' + body


def toml_step(fields: str) -> str:
    """A document with one step `a`, on line 4."""
    return toml(f"[steps]\na = {{ {fields} }}\n")


def yaml(body: str) -> str:
    """The body begins on line 3."""
    return 'dsl: "1"\nname: w\n' + body


def yaml_step(lines: str) -> str:
    """A document with one step `a`, its fields from line 5 on."""
    return yaml("steps:\n  a:\n" + "".join(f"    {line}\n" for line in lines.split("\n")))


#: Wrong in shape: refused by `structure`.
SHAPE = {
    # the document
    "no dsl": case('name = "w"\nsteps.a.call = "f"\n', "definition.missing_field dsl 1"),
    "dsl of another version": case('dsl = "2"\nname = "w"\nsteps.a.call = "f"\n', "definition.version dsl 1"),
    "dsl as a number": case("dsl: 1\nname: w\nsteps: {a: {call: f}}\n", "definition.version dsl 1"),
    "no name": case('dsl = "1"\nsteps.a.call = "f"\n', "definition.missing_field name 1"),
    "name is empty": case('dsl = "1"\nname = ""\nsteps.a.call = "f"\n', "definition.name name 2"),
    "name ends in a blank": case('dsl: "1"\nname: "w "\nsteps: {a: {call: f}}\n', "definition.name name 2"),
    "name is too long": case(f'dsl = "1"\nname = "{"w" * 101}"\nsteps.a.call = "f"\n', "definition.name name 2"),
    "name turns the line around": case('dsl = "1"\nname = "w\\u202e"\nsteps.a.call = "f"\n', "definition.name name 2"),
    "no steps": case('dsl = "1"\nname = "w"\n', "definition.missing_field steps 1"),
    "steps are empty": case(toml("[steps]\n"), "definition.range steps 3"),
    "steps are an empty list": case(yaml("steps: []\n"), "definition.range steps 3"),
    "steps are text": case(toml('steps = "a"\n'), "definition.type steps 3"),
    "steps are null": case(yaml("steps:\n"), "definition.type steps 3"),
    "unknown field of the document": case(
        toml('timout = "5s"\nsteps.a.call = "f"\n'), "definition.unknown_field timout 3"
    ),
    "field of a later version": case(toml('sandbox = "a"\nsteps.a.call = "f"\n'), "definition.unknown_field sandbox 3"),
    "field of a step at the top": case(toml('retry = {}\nsteps.a.call = "f"\n'), "definition.unknown_field retry 3"),
    "start is a list": case(toml('start = ["a"]\nsteps.a.call = "f"\n'), "definition.type start 3"),
    "continue_on_error is text": case(
        toml('continue_on_error = "yes"\nsteps.a.call = "f"\n'), "definition.type continue_on_error 3"
    ),
    "compensate of the workflow is a step": case(
        toml('compensate = { call = "f" }\nsteps.a.call = "f"\n'), "definition.type compensate 3"
    ),
    "checkpoint is wrong everywhere": case(
        toml('checkpoint = { every = "hour", durability = true, keep = 0, at = 1 }\nsteps.a.call = "f"\n'),
        "definition.range checkpoint.every 3",
        "definition.type checkpoint.durability 3",
        "definition.range checkpoint.keep 3",
        "definition.unknown_field checkpoint.at 3",
    ),
    "budget is wrong everywhere": case(
        toml('budget = { cost_usd = -1, tokens = 2.5 }\nsteps.a.call = "f"\n'),
        "definition.range budget.cost_usd 3",
        "definition.type budget.tokens 3",
    ),
    "handlers are empty": case(
        toml('steps.a.call = "f"\n[finally]\n'),
        "definition.range finally 4",
    ),
    "a handler has a compensation": case(
        toml('steps.a.call = "f"\non_failure.b = { call = "f", compensate = { call = "g" } }\n'),
        "definition.unknown_field on_failure.b.compensate 4",
    ),
    "a step inside a handler has a compensation": case(
        toml('steps.a.call = "f"\nfinally.b.steps.c = { call = "f", compensate = { call = "g" } }\n'),
        "definition.unknown_field finally.b.steps.c.compensate 4",
    ),
    "version as a number": case(yaml("version: 1.10\nsteps: {a: {call: f}}\n"), "definition.type version 3"),
    "max_parallel is zero": case(toml('max_parallel = 0\nsteps.a.call = "f"\n'), "definition.range max_parallel 3"),
    "max_parallel is too high": case(
        toml('max_parallel = 10_001\nsteps.a.call = "f"\n'), "definition.range max_parallel 3"
    ),
    "max_parallel is true": case(toml('max_parallel = true\nsteps.a.call = "f"\n'), "definition.type max_parallel 3"),
    "max_parallel is a float": case(
        yaml("max_parallel: 2.0\nsteps: {a: {call: f}}\n"), "definition.type max_parallel 3"
    ),
    "timeout of the workflow is a number": case(toml('timeout = 5\nsteps.a.call = "f"\n'), "definition.type timeout 3"),
    "timeout of the workflow is zero": case(toml('timeout = "0s"\nsteps.a.call = "f"\n'), "definition.range timeout 3"),
    "description is a list": case(toml('description = ["x"]\nsteps.a.call = "f"\n'), "definition.type description 3"),
    "defaults hold another field": case(
        toml('defaults.when = "true"\nsteps.a.call = "f"\n'), "definition.unknown_field defaults.when 3"
    ),
    "defaults are text": case(toml('defaults = "x"\nsteps.a.call = "f"\n'), "definition.type defaults 3"),
    "default retry is out of range": case(
        yaml("defaults:\n  retry:\n    max_attempts: 0\nsteps: {a: {call: f}}\n"),
        "definition.range defaults.retry.max_attempts 5",
    ),
    "include": case(toml('include = "../../etc/passwd"\nsteps.a.call = "f"\n'), "definition.unknown_field include 3"),
    # inputs and outputs
    "inputs are a list": case(toml('inputs = ["repo"]\nsteps.a.call = "f"\n'), "definition.type inputs 3"),
    "an input is text": case(toml('inputs.repo = "string"\nsteps.a.call = "f"\n'), "definition.type inputs.repo 3"),
    "an input of an unknown type": case(
        toml('inputs.repo = { type = "text" }\nsteps.a.call = "f"\n'), "definition.range inputs.repo.type 3"
    ),
    "an input with an unknown field": case(
        yaml("inputs:\n  repo:\n    typ: string\nsteps: {a: {call: f}}\n"), "definition.unknown_field inputs.repo.typ 5"
    ),
    "an input with a bad name": case(
        toml('inputs."a b" = {}\nsteps.a.call = "f"\n'), 'definition.name inputs["a b"] 3'
    ),
    "an enum without members": case(
        toml('inputs.x = { enum = [] }\nsteps.a.call = "f"\n'), "definition.range inputs.x.enum 3"
    ),
    "required as text": case(
        toml('inputs.x = { required = "yes" }\nsteps.a.call = "f"\n'), "definition.type inputs.x.required 3"
    ),
    "outputs are a list": case(toml('outputs = ["x"]\nsteps.a.call = "f"\n'), "definition.type outputs 3"),
    "an output with a bad name": case(
        yaml("outputs:\n  1a: x\nsteps: {a: {call: f}}\n"), "definition.name outputs.1a 4"
    ),
    # steps
    "a step is text": case(toml('steps.a = "echo"\n'), "definition.type steps.a 3"),
    "a step is null": case(yaml("steps:\n  a:\n"), "definition.type steps.a 4"),
    "a step is a list": case(yaml("steps:\n  a: [echo]\n"), "definition.type steps.a 4"),
    "no verb": case(toml_step("needs = []"), "definition.verb steps.a 4"),
    "two verbs": case(toml_step('call = "f", run = "x"'), "definition.verb steps.a 4"),
    "two verbs, one of them a group": case(
        toml_step('call = "f", steps = { b = { call = "f" } }'), "definition.verb steps.a 4"
    ),
    "env on a call": case(toml_step('call = "f", env = { A = "1" }'), "definition.unknown_field steps.a.env 4"),
    "with on a run": case(toml_step('run = "x", with = { a = 1 }'), "definition.unknown_field steps.a.with 4"),
    "sandbox": case(toml_step('call = "f", sandbox = "x"'), "definition.unknown_field steps.a.sandbox 4"),
    "for_each is text": case(toml_step('call = "f", for_each = "x"'), "definition.type steps.a.for_each 4"),
    "for_each is wrong everywhere": case(
        toml_step(
            'call = "f", for_each = { items = 5, as = "My Item", key = 1, max_parallel = 0, '
            'max_failures = "110%", x = 1 }'
        ),
        "definition.type steps.a.for_each.items 4",
        "definition.name steps.a.for_each.as 4",
        "definition.type steps.a.for_each.key 4",
        "definition.range steps.a.for_each.max_parallel 4",
        "definition.range steps.a.for_each.max_failures 4",
        "definition.unknown_field steps.a.for_each.x 4",
    ),
    "for_each without items": case(
        toml_step('call = "f", for_each = {}'), "definition.missing_field steps.a.for_each.items 4"
    ),
    "a matrix of text": case(toml_step('call = "f", matrix = { os = "x" }'), "definition.type steps.a.matrix.os 4"),
    "a matrix with nothing in it": case(
        toml_step('call = "f", matrix = { os = [] }'), "definition.range steps.a.matrix.os 4"
    ),
    "repeat without until": case(
        toml_step('call = "f", repeat = { max = 3 }'), "definition.missing_field steps.a.repeat.until 4"
    ),
    "repeat is wrong everywhere": case(
        toml_step('call = "f", repeat = { until = true, max = 0, delay = 5 }'),
        "definition.type steps.a.repeat.until 4",
        "definition.range steps.a.repeat.max 4",
        "definition.type steps.a.repeat.delay 4",
    ),
    "next is a number": case(toml_step('call = "f", next = 1'), "definition.type steps.a.next 4"),
    "next maps to a list": case(toml_step('call = "f", next = { x = ["b"] }'), "definition.type steps.a.next.x 4"),
    "a route is text": case(toml_step('call = "f", next = ["b"]'), "definition.type steps.a.next[0] 4"),
    "a route with another field": case(
        toml_step('call = "f", next = [{ if = "x", goto = "b" }]'), "definition.unknown_field steps.a.next[0].if 4"
    ),
    "max_visits is zero": case(toml_step('call = "f", max_visits = 0'), "definition.range steps.a.max_visits 4"),
    "trigger_rule is another word": case(
        toml_step('call = "f", trigger_rule = "one_success"'), "definition.range steps.a.trigger_rule 4"
    ),
    "delivery is another word": case(
        toml_step('call = "f", delivery = "exactly_once"'), "definition.range steps.a.delivery 4"
    ),
    "secrets with a bad name": case(toml_step('call = "f", secrets = ["A-B"]'), "definition.name steps.a.secrets[0] 4"),
    "output_schema is text": case(
        toml_step('call = "f", output_schema = "x"'), "definition.type steps.a.output_schema 4"
    ),
    "an agent without a prompt": case(toml_step('agent = "x"'), "definition.missing_field steps.a.prompt 4"),
    "with on an approval": case(
        toml_step('approval = { prompt = "x" }, with = {}'), "definition.unknown_field steps.a.with 4"
    ),
    "what only bodies have, on a wait": case(
        yaml_step("wait: {for: 5s}\ntimeout: 5s\nretry: {}\nverify: f\nsecrets: []\nidempotency_key: x"),
        "definition.unknown_field steps.a.timeout 6",
        "definition.unknown_field steps.a.retry 7",
        "definition.unknown_field steps.a.verify 8",
        "definition.unknown_field steps.a.secrets 9",
        "definition.unknown_field steps.a.idempotency_key 10",
    ),
    "what only bodies have, on a group": case(
        yaml_step("steps: {b: {call: f}}\ntimeout: 5s\nretry: {}\ndelivery: at_most_once"),
        "definition.unknown_field steps.a.delivery 8",
    ),
    "transaction on a run": case(
        toml_step('run = "x", transaction = true'), "definition.unknown_field steps.a.transaction 4"
    ),
    "start on a call": case(toml_step('call = "f", start = "b"'), "definition.unknown_field steps.a.start 4"),
    "an approval is wrong everywhere": case(
        yaml_step(
            "approval:\n  approvers: lead\n  form: {x: text, y: {typ: string}}\n  choices: []\n"
            "  deadline: {after: 5}\n  on_reject: again\n  promt: x"
        ),
        "definition.missing_field steps.a.approval.prompt 6",
        "definition.type steps.a.approval.approvers 6",
        "definition.range steps.a.approval.form.x 7",
        "definition.unknown_field steps.a.approval.form.y.typ 7",
        "definition.range steps.a.approval.choices 8",
        "definition.type steps.a.approval.deadline.after 9",
        "definition.range steps.a.approval.on_reject 10",
        "definition.unknown_field steps.a.approval.promt 11",
    ),
    "a wait is wrong everywhere": case(
        toml_step('wait = { for = 5, event = "", then = "go", timeout = 5 }'),
        "definition.type steps.a.wait.for 4",
        "definition.range steps.a.wait.event 4",
        "definition.range steps.a.wait.then 4",
        "definition.type steps.a.wait.timeout 4",
    ),
    # steps inside steps
    "a group of nothing": case(toml_step("steps = {}"), "definition.range steps.a.steps 4"),
    "a group is text": case(toml_step('steps = "b"'), "definition.type steps.a.steps 4"),
    "steps of groups are wrong": case(
        yaml("steps:\n  ci:\n    steps:\n      lint:\n        run: 5\n        tiemout: 5s\n      B: {call: f}\n"),
        "definition.type steps.ci.steps.lint.run 7",
        "definition.unknown_field steps.ci.steps.lint.tiemout 8",
        "definition.name steps.ci.steps.B 9",
    ),
    "listed steps of groups are wrong": case(
        yaml("steps:\n  - id: ci\n    steps:\n      - run: x\n      - {id: b, call: 5}\n"),
        "definition.missing_field steps[0].steps[0].id 6",
        "definition.type steps[0].steps[1].call 7",
    ),
    "a group and a step in it are wrong": case(
        toml_step("optional = 1, steps = { b = { steps = { c = { run = [] } } } }"),
        "definition.type steps.a.optional 4",
        "definition.range steps.a.steps.b.steps.c.run 4",
    ),
    "a compensation is wrong": case(
        toml_step('call = "f", compensate = { id = "x", run = 1, when = "true", needs = [] }'),
        "definition.unknown_field steps.a.compensate.id 4",
        "definition.type steps.a.compensate.run 4",
        "definition.unknown_field steps.a.compensate.when 4",
        "definition.unknown_field steps.a.compensate.needs 4",
    ),
    "a compensation is a name": case(toml_step('call = "f", compensate = "g"'), "definition.type steps.a.compensate 4"),
    "a workflow is a list": case(toml_step("workflow = []"), "definition.type steps.a.workflow 4"),
    "a workflow is empty": case(toml_step('workflow = ""'), "definition.range steps.a.workflow 4"),
    "an inline workflow is wrong": case(
        yaml_step("workflow:\n  dsl: 2\n  timout: 5s\n  steps:\n    b: {call: 5}"),
        "definition.missing_field steps.a.workflow.name 6",
        "definition.version steps.a.workflow.dsl 6",
        "definition.unknown_field steps.a.workflow.timout 7",
        "definition.type steps.a.workflow.steps.b.call 9",
    ),
    "depends_on": case(toml_step('call = "f", depends_on = ["b"]'), "definition.unknown_field steps.a.depends_on 4"),
    "id in a mapping": case(toml_step('id = "a", call = "f"'), "definition.unknown_field steps.a.id 4"),
    "call is a number": case(toml_step("call = 5"), "definition.type steps.a.call 4"),
    "call is empty": case(toml_step('call = ""'), "definition.range steps.a.call 4"),
    "with is a list": case(toml_step('call = "f", with = [1]'), "definition.type steps.a.with 4"),
    "run is a number": case(yaml_step("run: 5"), "definition.type steps.a.run 5"),
    "run is an empty list": case(toml_step("run = []"), "definition.range steps.a.run 4"),
    "run is empty text": case(toml_step('run = ""'), "definition.range steps.a.run 4"),
    "run has a number": case(toml_step('run = ["sleep", 5]'), "definition.type steps.a.run[1] 4"),
    "run is null": case(yaml_step("run:"), "definition.type steps.a.run 5"),
    "env has a number": case(toml_step('run = "x", env = { A = 1 }'), "definition.type steps.a.env.A 4"),
    "env has a bad name": case(toml_step('run = "x", env = { "A=B" = "1" }'), 'definition.name steps.a.env["A=B"] 4'),
    "cwd is a list": case(toml_step('run = "x", cwd = []'), "definition.type steps.a.cwd 4"),
    "needs is text": case(toml_step('call = "f", needs = "b"'), "definition.type steps.a.needs 4"),
    "needs has a number": case(yaml_step("call: f\nneeds: [b, 1]"), "definition.type steps.a.needs[1] 6"),
    "needs is null": case(yaml_step("call: f\nneeds:"), "definition.type steps.a.needs 6"),
    "when is a boolean": case(toml_step('call = "f", when = true'), "definition.type steps.a.when 4"),
    "optional is text": case(yaml_step('call: f\noptional: "true"'), "definition.type steps.a.optional 6"),
    "yes is text": case(yaml_step("call: f\noptional: yes"), "definition.type steps.a.optional 6"),
    "outputs of a step hold a number": case(
        toml_step('call = "f", outputs = { x = 1 }'), "definition.type steps.a.outputs.x 4"
    ),
    "outputs of a step with a bad name": case(
        toml_step('call = "f", outputs = { "a.b" = "result" }'), 'definition.name steps.a.outputs["a.b"] 4'
    ),
    # durations and retry
    "timeout is a number": case(toml_step('call = "f", timeout = 30'), "definition.type steps.a.timeout 4"),
    "timeout is a float": case(toml_step('call = "f", timeout = 0.5'), "definition.type steps.a.timeout 4"),
    "timeout is negative": case(toml_step('call = "f", timeout = -1'), "definition.range steps.a.timeout 4"),
    "timeout is a negative text": case(toml_step('call = "f", timeout = "-5s"'), "definition.range steps.a.timeout 4"),
    "timeout is zero": case(toml_step('call = "f", timeout = 0'), "definition.range steps.a.timeout 4"),
    "timeout is true": case(toml_step('call = "f", timeout = true'), "definition.range steps.a.timeout 4"),
    "timeout is nan": case(toml_step('call = "f", timeout = nan'), "definition.range steps.a.timeout 4"),
    "timeout is 1e400": case(toml_step('call = "f", timeout = 1e400'), "definition.range steps.a.timeout 4"),
    "timeout in words": case(toml_step('call = "f", timeout = "5 minutes-ish"'), "definition.range steps.a.timeout 4"),
    "timeout is a list": case(toml_step('call = "f", timeout = ["5s"]'), "definition.type steps.a.timeout 4"),
    "timeout is too long": case(toml_step('call = "f", timeout = "9999999w"'), "definition.range steps.a.timeout 4"),
    "retry is a number": case(toml_step('call = "f", retry = 3'), "definition.type steps.a.retry 4"),
    "retry is wrong everywhere": case(
        toml_step(
            'call = "f", retry = { max_attempts = 1_000_000_000_000, delay = -1, backoff = "linear", factor = 0.5, '
            'max_delay = 5, jitter = true, retry_on = "X", abort_on = [1], tries = 2 }'
        ),
        "definition.range steps.a.retry.max_attempts 4",
        "definition.range steps.a.retry.delay 4",
        "definition.range steps.a.retry.backoff 4",
        "definition.range steps.a.retry.factor 4",
        "definition.type steps.a.retry.max_delay 4",
        "definition.type steps.a.retry.jitter 4",
        "definition.type steps.a.retry.retry_on 4",
        "definition.type steps.a.retry.abort_on[0] 4",
        "definition.unknown_field steps.a.retry.tries 4",
    ),
    "factor is inf": case(toml_step('call = "f", retry = { factor = inf }'), "definition.range steps.a.retry.factor 4"),
    "max_attempts is a float": case(
        toml_step('call = "f", retry = { max_attempts = 2.0 }'), "definition.type steps.a.retry.max_attempts 4"
    ),
    # ids
    "id with a path": case(toml('steps."../x".call = "f"\n'), 'definition.name steps["../x"] 3'),
    "id with a slash": case(yaml("steps:\n  a/b: {call: f}\n"), 'definition.name steps["a/b"] 4'),
    "empty id": case(toml('steps."".call = "f"\n'), 'definition.name steps[""] 3'),
    "dot as id": case(yaml("steps:\n  .: {call: f}\n"), 'definition.name steps["."] 4'),
    "dunder id": case(toml('steps.__class__.call = "f"\n'), "definition.name steps.__class__ 3"),
    "long id": case(
        toml(f'steps.{"a" * 65}.call = "f"\n'),
        "definition.name steps.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 3",
    ),
    "id turned around": case(toml('steps."a\\u202eb".call = "f"\n'), 'definition.name steps["a\\u202eb"] 3'),
    "id with an escape": case(yaml('steps:\n  "a\\e[2J": {call: f}\n'), 'definition.name steps["a\\u001b[2J"] 4'),
    "id in capitals": case(
        toml('[steps]\nbuild = { call = "f" }\nBuild = { call = "f" }\n'),
        "definition.name steps.Build 5",
        "definition.name steps.Build 5",
    ),
    "ids that look alike": case(
        toml('[steps]\n"\\u00e9" = { call = "f" }\n"e\\u0301" = { call = "f" }\n'),
        "definition.name steps.é 4",
        'definition.name steps["é"] 5',
        'definition.name steps["é"] 5',
    ),
    # steps as a list
    "listed step without an id": case(toml('[[steps]]\ncall = "f"\n'), "definition.missing_field steps[0].id 3"),
    "listed step with a number as id": case(yaml("steps:\n  - id: 5\n    call: f\n"), "definition.type steps[0].id 4"),
    "listed step with a bad id": case(toml('[[steps]]\nid = "A"\ncall = "f"\n'), "definition.name steps[0].id 4"),
    "listed step twice": case(
        toml('[[steps]]\nid = "a"\ncall = "f"\n[[steps]]\nid = "a"\ncall = "f"\n'),
        "definition.duplicate_key steps[1].id 7",
    ),
    "listed step is text": case(yaml("steps:\n  - a\n"), "definition.type steps[0] 4"),
    "listed step with an unknown field": case(
        yaml("steps:\n  - id: a\n    call: f\n    tiemout: 5s\n"), "definition.unknown_field steps[0].tiemout 6"
    ),
}


#: Of sound shape, but wrong in meaning: refused by `check`.
MEANING = {
    "unknown need": case(
        toml('[steps]\nbuild = { call = "f" }\ntest = { needs = ["biuld"], call = "f" }\n'),
        "definition.unknown_step steps.test.needs[0] 5",
    ),
    "unknown need in a list of steps": case(
        yaml("steps:\n  - id: build\n    call: f\n  - id: test\n    needs: [biuld]\n    call: f\n"),
        "definition.unknown_step steps[1].needs[0] 7",
    ),
    "a step needs itself": case(toml_step('needs = ["a"], call = "f"'), "definition.cycle steps.a.needs[0] 4"),
    "needed twice": case(
        toml('[steps]\na = { call = "f" }\nb = { needs = ["a", "a"], call = "f" }\n'),
        "definition.duplicate steps.b.needs[0] 5",
    ),
    "circle": case(
        toml(
            "[steps]\n"
            'x = { call = "f" }\n'
            'a = { needs = ["c"], call = "f" }\n'
            'b = { needs = ["a"], call = "f" }\n'
            'c = { needs = ["b"], call = "f" }\n'
        ),
        "definition.cycle steps.a.needs 5",
    ),
    "circle in a list of steps": case(
        yaml("steps:\n  - {id: a, needs: [b], call: f}\n  - id: b\n    needs: [a]\n    call: f\n"),
        "definition.cycle steps[0].needs 4",
    ),
    "two circles": case(
        toml(
            "[steps]\n"
            'a = { needs = ["b"], call = "f" }\n'
            'b = { needs = ["a"], call = "f" }\n'
            'c = { needs = ["d"], call = "f" }\n'
            'd = { needs = ["c"], call = "f" }\n'
        ),
        "definition.cycle steps.a.needs 4",
        "definition.cycle steps.c.needs 6",
    ),
    "call of a private function": case(toml_step('call = "os:_exit"'), "definition.callable steps.a.call 4"),
    "call of a private module": case(toml_step('call = "_pytest.config:main"'), "definition.callable steps.a.call 4"),
    "call of a lambda": case(toml_step('call = "lambda: 0"'), "definition.callable steps.a.call 4"),
    "call of a keyword": case(toml_step('call = "kit:lambda"'), "definition.callable steps.a.call 4"),
    "call of a path": case(yaml_step("call: ../kit.py"), "definition.callable steps.a.call 5"),
    "call of a method": case(toml_step('call = "kit:Cls.method"'), "definition.callable steps.a.call 4"),
    "call with arguments": case(toml_step('call = "kit:f()"'), "definition.callable steps.a.call 4"),
    "when with a placeholder": case(
        toml_step('call = "f", when = "${{ inputs.x }}"'), "expression.syntax steps.a.when 4"
    ),
    "when is no expression": case(toml_step('call = "f", when = "1 +"'), "expression.syntax steps.a.when 4"),
    "when is empty": case(toml_step('call = "f", when = ""'), "expression.syntax steps.a.when 4"),
    "when reads an undeclared input": case(
        toml('inputs.repo = {}\n[steps]\na = { call = "f", when = "inputs.rpo == 1" }\n'),
        "definition.reference steps.a.when 5",
    ),
    "when reads an unknown name": case(toml_step('call = "f", when = "foo"'), "expression.undefined steps.a.when 4"),
    "when reads a result": case(toml_step('call = "f", when = "result == 1"'), "expression.undefined steps.a.when 4"),
    "when reads item": case(toml_step('call = "f", when = "item == 1"'), "expression.undefined steps.a.when 4"),
    "when names an input without its root": case(
        toml('inputs.repo = {}\n[steps]\na = { call = "f", when = "repo == 1" }\n'),
        "expression.undefined steps.a.when 5",
    ),
    "when reads an unknown key of run": case(
        toml_step('call = "f", when = "run.idd == 1"'), "definition.reference steps.a.when 4"
    ),
    "a placeholder reads an unknown step": case(
        toml_step('call = "f", with = { x = [0, "${{ steps.b.output }}"] }'), "definition.reference steps.a.with.x[1] 4"
    ),
    "a step reads one that it does not need": case(
        toml('[steps]\na = { call = "f" }\nc = { call = "f", with = { x = "${{ steps.a.output }}" } }\n'),
        "definition.reference steps.c.with.x 5",
    ),
    "a step reads one that comes later": case(
        toml('[steps]\na = { call = "f", when = "steps.b.state == 1" }\nb = { needs = ["a"], call = "f" }\n'),
        "definition.reference steps.a.when 4",
    ),
    "a step reads itself": case(
        toml_step('call = "f", when = "steps.a.output == 1"'), "definition.reference steps.a.when 4"
    ),
    "a step reads a part that no step has": case(
        toml('[steps]\na = { call = "f" }\nb = { needs = ["a"], run = "echo ${{ steps.a.outptu }}" }\n'),
        "definition.reference steps.b.run 5",
    ),
    "a step reads a whole step": case(
        toml('[steps]\na = { call = "f" }\nb = { needs = ["a"], run = ["echo", "${{ steps.a }}"] }\n'),
        "definition.reference steps.b.run[1] 5",
    ),
    "a step reads all steps": case(
        toml_step('call = "f", when = "len(steps) == 1"'), "definition.reference steps.a.when 4"
    ),
    "a step reads an output that is not declared": case(
        toml(
            "[steps]\n"
            'a = { call = "f", outputs = { files = "result" } }\n'
            'b = { needs = ["a"], call = "f", when = "steps.a.outputs.file == 1" }\n'
        ),
        "definition.reference steps.b.when 5",
    ),
    "a step reads what no command gives": case(
        toml(
            "[steps]\n"
            'a = { run = "x" }\n'
            'b = { needs = ["a"], call = "f", when = "steps.a.outputs.stdot == steps.a.output.code" }\n'
        ),
        "definition.reference steps.b.when 5",
        "definition.reference steps.b.when 5",
    ),
    "outputs of a step read steps": case(
        toml_step('call = "f", outputs = { x = "steps.a.output" }'), "expression.undefined steps.a.outputs.x 4"
    ),
    "outputs of a call read stdout": case(
        toml_step('call = "f", outputs = { x = "stdout" }'), "expression.undefined steps.a.outputs.x 4"
    ),
    "outputs of a run read an unknown key": case(
        toml_step('run = "x", outputs = { x = "result.stdut" }'), "definition.reference steps.a.outputs.x 4"
    ),
    "outputs of the workflow read env": case(
        toml('steps.a.call = "f"\noutputs.x = "${{ env.HOME }}"\n'), "expression.undefined outputs.x 4"
    ),
    "outputs of the workflow read an unknown step": case(
        yaml('steps: {a: {call: f}}\noutputs:\n  x: ["${{ steps.b.output }}"]\n'), "definition.reference outputs.x[0] 5"
    ),
    "a placeholder is never closed": case(toml_step('run = "echo ${{ inputs.x"'), "expression.syntax steps.a.run 4"),
    "a placeholder inside quotes of a shell": case(
        toml("inputs.x = {}\n[steps]\na.run = \"echo '${{ inputs.x }}'\"\n"), "expression.forbidden steps.a.run 5"
    ),
    "an expression in a block of text": case(
        yaml("steps:\n  a:\n    run: |\n      set -e\n      echo ${{ nothing }}\n"),
        "expression.undefined steps.a.run 5",
    ),
    "a default of another type": case(
        toml('inputs.n = { type = "integer", default = "5" }\nsteps.a.call = "f"\n'),
        "definition.type inputs.n.default 3",
    ),
    "true is no integer": case(
        toml('inputs.n = { type = "integer", default = true }\nsteps.a.call = "f"\n'),
        "definition.type inputs.n.default 3",
    ),
    "an enum of another type": case(
        yaml("inputs:\n  n: {type: integer, enum: [1, 2.5]}\nsteps: {a: {call: f}}\n"),
        "definition.type inputs.n.enum[1] 4",
    ),
    "a default outside the enum": case(
        toml('inputs.n = { enum = ["a"], default = "b" }\nsteps.a.call = "f"\n'), "definition.range inputs.n.default 3"
    ),
    "a delay longer than the longest": case(
        toml_step('call = "f", retry = { delay = "10m" }'), "definition.range steps.a.retry.delay 4"
    ),
    "a default delay longer than the longest": case(
        toml('defaults.retry = { delay = "2s", max_delay = "1s" }\nsteps.a.call = "f"\n'),
        "definition.range defaults.retry.delay 3",
    ),
    "shape and meaning at once": case(
        toml(
            'timout = "1s"\n'
            "[steps]\n"
            'a = { call = "f", timeout = 5, when = "inputs.x" }\n'
            'b = { needs = ["a", "z"], call = "a b" }\n'
        ),
        "definition.unknown_field timout 3",
        "definition.type steps.a.timeout 5",
        "definition.reference steps.a.when 5",
        "definition.unknown_step steps.b.needs[1] 6",
        "definition.callable steps.b.call 6",
    ),
}
