"""The engine: it carries runs through their lives.

Layout, from the outside in:
    sync, asynchronous   the public engines, twins with the same methods
    control, reading     what callers have done to runs, and read of them
    entry                how a run comes to be worked on here, and what is said to it
    core                 store, workers, putting runs to work
    ownership, watch     who may work on a run; what is looked at while one is
    children             runs that steps of other runs started
    library, code        plans and functions; what a run calls, pinned and compared
    committer            group commit, and attempts inside a transaction
    asked                what is asked of a run, here or by another process
    worker               one run at work: what is to be written, and what follows once it is
    attempts             what is under way of one run: launched, timed, stopped, verified
    decide               the rules of a run, pure; it lists the modules they stand in
    attempt, verify      one attempt of one step; what became of one that was cut off
    outcome              how an attempt ended, as data
    scope, results       what expressions may read; what steps gave
    inputs               what a run begins with
    view                 what users see of a run
    owner, ids           naming a process, and whether it lives; what runs are called
"""
