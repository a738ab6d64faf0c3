"""Ways to look at a workflow or a run, for people and for programs; nothing here changes or executes anything.

Layout, each module importing only from those above it:
    escape      text of documents, harmless wherever it is shown
    advice      kinds of errors: what causes them, how they are mended
    paths       the paths of steps in a run
    picture     a workflow as boxes and arrows, level by level, with the states of a run
    tree        a picture as text for terminals
    mermaid     a picture for Mermaid, and `dot` for Graphviz
    layout      where the boxes of a picture stand
    svg         a picture as SVG
    drawing     `draw`: all of them
    renames     which step of one document is which of another
    changes     how two workflows differ: `diff`
    known       expressions as far as they can be evaluated before a run
    needed      what a workflow takes from outside
    preview     what a run would do, as far as inputs tell
    story       why a step of a run is as it is
"""
