"""The engine: it carries runs through their lives.

Layout, from the outside in:
    sync, asynchronous   the public engines, twins with the same methods
    core                 store, workers, taking hold of runs
    committer            group commit
    worker               one run at work: launches, timers, outcomes
    decide               the rules of a run, pure
    attempt, outcome     one attempt of one step, and how it ended
    scope, inputs        what expressions may read; what a run begins with
    view                 what users see of a run
    owner, ids           who works on a run; what runs are called
"""
