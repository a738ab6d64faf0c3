"""Building workflows in Python: the same document as in TOML or YAML, written by calls.

A `Workflow` collects a document as plain data and has it checked by the compiler like any other text, so a workflow
built here and the same one in a file have the same content hash. References such as `diff.outputs.files` stand for
placeholders; the steps a step refers to are the steps it needs.

Layout, each module importing only from those above it:
    refs        references, and those that loops give names to
    reads       which steps a step reads
    forms       what is given -> as a document has it
    names       functions -> their names
    level       the methods that add steps
    workflow    `Workflow`, and `load`
"""

from statemachine_flow.builder.level import Group, Handlers
from statemachine_flow.builder.refs import Ref, feedback, index, item, matrix, previous
from statemachine_flow.builder.workflow import Workflow, as_workflow, load

__all__ = [
    "Group",
    "Handlers",
    "Ref",
    "Workflow",
    "as_workflow",
    "feedback",
    "index",
    "item",
    "load",
    "matrix",
    "previous",
]
