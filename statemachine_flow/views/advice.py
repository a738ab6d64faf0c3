"""What usually causes an error of each kind, and how it is mended: the texts behind `smf explain KIND`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: A key of `errors.KINDS` -> one to three sentences.
ADVICE: Final[Mapping[str, str]] = {
    "usage": "An option, an argument or a call does not exist or does not fit. `smf COMMAND --help` shows what does.",
    "usage.ambiguous": "Type more of the run's id. `smf list --all` shows the ids in full.",
    "usage.closed": (
        "The engine was used after its `with` block or after `close()`. Keep it open as long as runs go on."
    ),
    "usage.forked": "A store's handle does not survive a fork. Open the engine in the child process, after the fork.",
    "usage.edit": (
        "Set an input (`inputs.NAME`), or the output of a step that had completed by then (`steps.NAME.output.PATH`). "
        "The message lists what there is."
    ),
    "usage.extra": "Install the extra that the message names, such as `pip install 'statemachine_flow[rich]'`.",
    "usage.output": (
        "The disk is full, the file cannot be written, or stdout was closed. Nothing was lost but the text."
    ),
    "definition.agent": (
        "An `agent` step names an agent that nobody gave the engine. Check the spelling, or pass it: "
        "`Engine(agents={...})`."
    ),
    "definition.alias": "Write the value out at each place, or put what steps share into `defaults`.",
    "definition.callable": (
        "Write a name that was registered, or a public function as `module:function`. Is the module on the path, does "
        "the function exist, and does `--allow` cover it?"
    ),
    "definition.cycle": (
        "Take one step out of the circle that the message shows. If going round is what you want, use `repeat`, or a "
        "level of states with `start` and `next`."
    ),
    "definition.duplicate": "Remove one of the two.",
    "definition.duplicate_key": "The later one would silently win. Rename one of them, or merge what they hold.",
    "definition.empty": "Was the file saved? A document needs at least `dsl`, `name` and one step.",
    "definition.encoding": "Save the file as UTF-8, without NUL bytes and with line ends of LF or CRLF.",
    "definition.exclusive_join": (
        "The step waits for all of several branches, of which each run takes only one: it would always be skipped. "
        'Give it `trigger_rule = "none_failed"` or `"any_success"`.'
    ),
    "definition.format": "Name the file `.toml`, `.yaml`, `.yml` or `.json`.",
    "definition.include": (
        "The file has to lie in the folder of the document or below it. Its name is relative to the document and "
        "holds no `..` that leads out."
    ),
    "definition.merge": "Write the keys out. What steps share belongs into `defaults`.",
    "definition.missing_field": "Add the field that the message names.",
    "definition.multiple": "Keep one document in each file: remove the `---` between them.",
    "definition.name": (
        "Step ids have lower-case letters, digits, `-` and `_`, a letter first. A name may also be taken: by a step "
        "around it, or by a word of the language."
    ),
    "definition.never_ends": "Every way leads back into the circle. Add a route to `end`, or a step without `next`.",
    "definition.never_runs": (
        "Nothing can make its trigger rule true. `any_failed` needs steps in `needs` that can fail."
    ),
    "definition.not_a_file": "Check the path. A directory, a device or a pipe is not read as a document.",
    "definition.number": "Whole numbers have 64 bits. Write a longer one as text.",
    "definition.range": "The message tells what is allowed.",
    "definition.reference": (
        "A step reads only what is at rest before it begins. Add the other step to its `needs`, or correct the name "
        "that the message shows."
    ),
    "definition.route": (
        "A route has `when` and `goto`, the last one perhaps `default` instead. A map needs a key for every choice, "
        "or `default`."
    ),
    "definition.schema": "The schema has to be valid JSON Schema, and `$ref` may point only inside of it.",
    "definition.secret": (
        "Arguments and shell text can be seen by every process of the machine. Pass the secret by `env`."
    ),
    "definition.shape": (
        "A level either has `start` and steps with `next`, or steps with `needs`. Put the other part into a group: a "
        "step with `steps` of its own, which may have the other shape."
    ),
    "definition.syntax": (
        "The column is where the parser gave up; the mistake often stands just before it, such as a quote or a "
        "bracket that was not closed."
    ),
    "definition.tag": "Write the value without its tag. Text that looks like something else is put in quotes.",
    "definition.too_deep": "Nest fewer lists and mappings, or hand the value in as an input.",
    "definition.too_large": "Keep large data out of the document: as an input, or in a file that a step reads.",
    "definition.too_many": (
        "Generate fewer steps: `for_each` carries one step out for many items, and a `workflow` step keeps a part in "
        "a document of its own."
    ),
    "definition.type": (
        'Nothing is converted: a number is no text, `1.0` no whole number, and a duration is text such as `"30s"`. '
        "Put it in quotes, or take the quotes away."
    ),
    "definition.unknown_field": (
        "Check the spelling, and whether the field goes with the step's verb. What stands under `with` may have any "
        "name."
    ),
    "definition.unknown_step": "Check the spelling. Only steps of the same level can be named.",
    "definition.unreachable": "Add a route that leads to the step, or remove it.",
    "definition.verb": (
        "A step has exactly one of `call`, `run`, `agent`, `workflow`, `approval`, `wait` and `steps`."
    ),
    "definition.version": 'Write `dsl = "1"`, as text. A later version needs a later release of this library.',
    "definition.workflow": (
        "Name a file beside the document, or give the workflow to the engine: `Engine(workflows={...})`."
    ),
    "expression.evaluation": (
        "The values were not what the expression expects, such as a division by zero or text where a number belongs. "
        "Look at the step's inputs with `smf status RUN --json`."
    ),
    "expression.forbidden": (
        "Expressions read values and compute one; they have no methods, assignments or imports. Use one of the "
        "functions of the language, or a `call` step for more."
    ),
    "expression.limit": "The expression made too many steps or too large a value. Compute it in a `call` step.",
    "expression.syntax": (
        "Check brackets and quotes. `when`, `until` and `outputs` hold bare expressions, without `${{ }}`."
    ),
    "expression.too_deep": "Split the expression, or compute the value in a `call` step.",
    "expression.type": (
        "Conditions are true or false and nothing else counts as either: write `len(x) > 0` instead of `x`."
    ),
    "expression.undefined": (
        "Check the spelling. A step that was skipped or failed has no output: ask for `default(steps.x.output, ...)`, "
        "or for `steps.x.state`."
    ),
    "input.missing": "Give it: `--input NAME=VALUE`. Or declare a `default`, or `required = false`.",
    "input.type": "Nothing is converted. On the command line the value of an input that is no text is read as JSON.",
    "input.unknown": "Check the spelling; `smf plan FILE` lists the inputs that the workflow declares.",
    "input.value": "Give one of the values that `enum` lists.",
    "run.not_found": (
        "Check the id and the store: `smf list --all`, `--db PATH`. Ids may be shortened, and `@last` is the newest "
        "run."
    ),
    "run.owned": (
        "Another process works on the run. Wait for it, or stop it there; `--take-over` is for an owner on another "
        "host that is known to be dead."
    ),
    "run.fenced": (
        "Another process took the run over, so this one stopped writing. Nothing is lost: the other goes on."
    ),
    "run.state": "`smf status RUN` shows the state and the commands that are allowed in it.",
    "run.refused": (
        "Somebody else may have decided before, the deadline may have passed, or the person is not among the "
        "approvers. `smf explain RUN STEP` shows what was decided."
    ),
    "run.uncertain": (
        "An attempt of an `at_most_once` step was cut off. Find out whether it took effect, and say so with `smf "
        "resolve`; a `verify` function can do that next time."
    ),
    "run.limit": (
        "The run made far more records than a workflow should, mostly by loops inside loops; it is paused, or refuses "
        "a signal. Look at its last events; then cancel it, or go on with a higher `--max-records`."
    ),
    "run.conflict": "The id belongs to another run. Choose a new one, or leave `--run-id` out.",
    "transition.refused": (
        "What was asked for does not fit the state, often because two asked at the same time. Look at the state again "
        "and decide anew."
    ),
    "store.busy": "Another process writes to the store. Try again; long locks come from backups and from slow disks.",
    "store.corrupt": (
        "Make a copy of the store before anything else. `smf events` shows up to where it can be read; restore the "
        "rest from a backup."
    ),
    "store.exists": "A backup takes the place of nothing. Name another file, or remove the one that is there.",
    "store.filesystem": (
        "SQLite's locks and its log do not hold where several machines share a disk. Keep the store on a disk of this "
        "machine. `SMF_ALLOW_SHARED_FILESYSTEM=1` allows it all the same, without a log; one machine alone may use it."
    ),
    "store.full": (
        "Make room and resume the run: what was recorded before is safe. What finishes while there is no room is held "
        "in memory for 10 seconds (`--write-timeout`) and kept if there is room by then."
    ),
    "store.io": "Look at the permissions and the disk. What was recorded before is safe.",
    "store.lost_tail": (
        "The log beside the store was removed or cut off, or an older file was put in the store's place. Put back what "
        "is missing; for a backup, remove the files named after it that end in `-wal`, `-shm` and `-mark`. "
        "`smf verify --accept-loss` goes on with what is left."
    ),
    "store.moved": (
        "Somebody moved, removed or replaced the file or its log while a run used it, or code of yours opened the file "
        "itself in this process, which drops SQLite's locks. Nothing but this library may open it: use `smf backup`."
    ),
    "store.needs_migration": (
        "Reading commands change nothing. `smf doctor --migrate` brings the store up to date, and so does every "
        "command that writes; a backup is kept beside it."
    ),
    "store.newer": "Upgrade this library, or use another store.",
    "store.not_ours": "Check the path: `--db`, `$SMF_DB`. A new store is made where no file is yet.",
    "store.old_sqlite": (
        "SQLite before 3.51.3 can damage a log when two connections write in an unlucky moment. apsw from the "
        "package index brings a SQLite of its own. `SMF_ALLOW_OLD_SQLITE=1` allows this one all the same, for a store "
        "that one process at a time uses."
    ),
    "store.schema_mismatch": (
        "Somebody changed the tables of the store, or added a trigger, an index or a view to them. Remove it, or "
        "restore a backup. Tables of your own may lie in the same file."
    ),
    "store.unsafe_path": "Name a regular file in a folder that only you can write to.",
    "step.abandoned": (
        "Functions that took too long go on in their threads until they return. Have them look at `context.cancelled`, "
        'or give their steps `isolation = "process"`, which can be ended.'
    ),
    "step.agent": (
        "The agent failed or its answer was not usable. Look at the error's message, and give the step a `retry`."
    ),
    "step.budget": "Raise `budget`, or ask less of agents, and retry the run.",
    "step.child": "The reason stands with the child: `smf status` of the run that the message names.",
    "step.died": (
        "The function, or a library it uses, crashed, ended its process, or used up the memory. Give the step a "
        '`retry` with `retry_on = ["ProcessDied"]` if that may pass by itself.'
    ),
    "step.failed": (
        "The function raised an error; the error's place is the last line of your own code. Mend it and `smf retry` "
        "the run, or give the step a `retry` if the error may pass by itself."
    ),
    "step.exit": (
        "The step's stderr says more: `smf status RUN --json`. Statuses that are no failure go into `allow_exit`."
    ),
    "step.group": "The reason is the error of the inner step that the message names.",
    "step.items": (
        "Look at the items that failed: `smf status RUN`. `max_failures` lets some fail; `items` has to be a list and "
        "its keys have to differ."
    ),
    "step.limit": "Raise `max` or `max_visits`, or look at why the loop does not come to its end.",
    "step.poison": (
        "Either the step kills the process that runs it, or something else did while the step was under way. Give it "
        '`isolation = "process"`, so that a crash is an error of its own, and start a new run; or let `smf rerun '
        "RUN --from STEP` begin one that keeps what was done before. If it was not the step, a larger `poison_after` "
        "of the engine, or `--poison-after`, lets more deaths pass."
    ),
    "step.rejected": "A person said no. `on_reject` can skip the step or go back to an earlier one instead.",
    "step.route": "Add a `default`, or a key for the value.",
    "step.schema": (
        "Compare the step's result with its `output_schema`; the message names the place. Agents often get it right "
        "at the next attempt: give the step a `retry`."
    ),
    "step.secret": "Set the environment variable that the message names, and resume the run.",
    "step.spawn": "Is the program there, on the PATH and executable, and is `cwd` a folder?",
    "step.timeout": "Raise `timeout`, or make the step faster or smaller. With a `retry` it is tried again.",
    "step.outputs": (
        "An expression under `outputs` does not fit what the step returned. Use `default(...)` for what may be absent."
    ),
    "step.uncertain": (
        "The attempt was cut off, and `verify` or a person found that it had failed. A retry begins it again."
    ),
    "step.unserializable": (
        "Return plain data: text, numbers, lists, mappings, and the few types that the reference lists."
    ),
    "run.failed": (
        "The reason is the error of the step that the message names. Mend it, then `smf retry`: what completed is kept."
    ),
    "run.timeout": (
        "Raise the workflow's `timeout`; it counts pauses too. `smf retry` gives the run its whole time again."
    ),
    "run.outputs": (
        "An expression under `outputs` reads what is not there, often the output of a skipped step. Use `default(...)`."
    ),
    "internal": "Please report it, with what `--debug` shows.",
}

#: A kind -> lines of a document, of what is wrong and of what is right.
EXAMPLES: Final[Mapping[str, str]] = {
    "definition.cycle": (
        'a = { needs = ["b"], run = "true" }\nb = { needs = ["a"], run = "true" }   # needs a, which needs b'
    ),
    "definition.exclusive_join": 'join = { needs = ["yes", "no"], trigger_rule = "none_failed", run = "true" }',
    "definition.reference": 'test = { needs = ["build"], run = "check ${{ steps.build.output.stdout }}" }',
    "definition.route": 'next = [{ when = "result > 3", goto = "ship" }, { default = "end" }]',
    "definition.secret": 'push = { run = ["push.sh"], secrets = ["TOKEN"] }   # push.sh reads $TOKEN',
    "definition.type": ('timeout = 30      # wrong: nobody sees the unit\ntimeout = "30s"   # right'),
    "definition.verb": ('build = { run = ["make"] }\nnotify = { call = "kit:notify" }'),
    "expression.forbidden": (
        "when = \"inputs.name.upper() == 'A'\"   # wrong: no methods\nwhen = \"upper(inputs.name) == 'A'\""
    ),
    "expression.type": (
        'when = "steps.find.outputs.files"            # wrong: a list\n'
        'when = "len(steps.find.outputs.files) > 0"   # right'
    ),
    "expression.undefined": "text = \"${{ default(steps.maybe.outputs.text, 'nothing') }}\"",
    "input.missing": "smf run review.toml --input repo=.",
    "step.died": 'scale = { call = "kit:scale", isolation = "process", retry = { retry_on = ["ProcessDied"] } }',
    "step.exit": 'grep = { run = ["grep", "x", "log"], allow_exit = [0, 1] }',
    "step.items": 'for_each = { items = "${{ inputs.files }}", max_failures = "10%" }',
    "step.timeout": 'fetch = { call = "kit:fetch", timeout = "5m", retry = { max_attempts = 3 } }',
    "run.conflict": "smf run review.toml --run-id review-2",
}
