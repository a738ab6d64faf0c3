"""Building workflows in Python: the same document as in TOML or YAML, written by calls.

A `Workflow` collects a document as plain data and has it checked by the compiler like any other text, so a workflow
built here and the same one in a file have the same content hash. References such as `diff.outputs.files` stand for
placeholders; the steps a step refers to are the steps it needs.
"""

from statemachine_flow.builder.refs import Ref
from statemachine_flow.builder.workflow import Workflow, as_workflow, load

__all__ = ["Ref", "Workflow", "as_workflow", "load"]
