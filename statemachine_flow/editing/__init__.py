"""Documents changed and laid out as texts, with their comments.

Layout, each module importing only from those above it:
    spans       where everything in a text stands; `scan_toml` and `scan_yaml` find it
    render      single values as text
    roles       what a mapping of a document is: a workflow, a level, a step
    paths       paths as people write them
    comments    which comment belongs to which value
    layout      a whole document in the canonical layout; `layout_toml` and `layout_yaml` write it
    references  where expressions read a step
    edits       changes by path; `splice_flow`, `splice_toml` and `splice_yaml` make them
    steps       the steps of a document: who names them, who reads them
    files       a file replaced as a whole or not at all
    views       mappings and lists that write through
    document    `Document`, `edit`
"""

from statemachine_flow.editing.document import Document, edit

__all__ = ["Document", "edit"]
