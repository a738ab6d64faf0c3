"""What every run of a workflow keeps to, shown over the machines and rules themselves; nothing is run.

Each level of steps is explored by itself: a level sees the steps inside a group only as ways the group can end, and
the outside only as somebody who may hold it up or cut it off at any moment. On top stands the run's own machine,
which sees the workflow's level the same way. Where a level has too many configurations to look at each, how steps can
end is computed along the graph instead.

Layout, each module importing only from those above it:
    rules       `Rules`: the tables and join rules that are judged, and what they ought to say
    report      `Proof` and `Property`
    findings    `Findings`: what is known of one level
    parts       a step as the prover sees it: how it begins, how it can end
    graph       a level that is a graph, as configurations and moves
    states      a level of states, as configurations and moves
    explore     every configuration of a level, one by one
    structure   the ends of steps along the graph, for levels that are too large
    levels      one level and what is inside it
    lifetimes   the run's machine around its level and handlers
    proving     `prove`
"""

from statemachine_flow.proof.proving import prove
from statemachine_flow.proof.report import Proof, Property
from statemachine_flow.proof.rules import Rules

__all__ = ["Proof", "Property", "Rules", "prove"]
