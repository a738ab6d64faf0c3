"""Ways to look at a workflow or a run, for people and for programs; nothing here changes or executes anything.

Layout, each module importing only from those above it:
    escape      text of documents, harmless wherever it is shown
    paths       the paths of steps in a run, and what the states along them add up to
    places      the step of a definition that such a path names
    picture     a workflow as boxes and arrows, level by level, with the states of a run
    data        a picture as plain data
    tree        a picture as text for terminals
    looks       colours, and the lines of a box
    mermaid     a picture for Mermaid; `dot` for Graphviz
    ranks       in which row of a drawing each box stands; `layout` says where in it
    svg         a picture as SVG
    drawing     `draw`: all of them
    renames     which step of one document is which of another
    effects     what a change would mean for a run
    changes     `diff`: how two workflows differ
    known       expressions as far as they can be evaluated before a run
    needed      what a workflow takes from outside
    prospects   what will become of each step, as far as that is certain
    preview     `preview`: what a run would do
    advice      kinds of errors: what causes them, how they are mended; `rules` of the reference that name them
    explain     `explain`: a kind of error
    facts       records as sentences; `pending`: what a step waits for now
    story       `explain_step`: why a step of a run is as it is
"""
