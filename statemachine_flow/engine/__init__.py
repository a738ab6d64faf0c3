"""The engine: it carries runs through their lives.

Layout, from the outside in:
    sync, asynchronous   the public engines, twins with the same methods
    entry                how a run comes to be worked on here, and what is said to it
    core                 store, workers, taking hold of runs
    children             runs that steps of other runs started
    committer            group commit, and attempts inside a transaction
    asked                what is asked of a run, here or by another process
    worker               one run at work: what is to be written, and what follows once it is
    attempts             what is under way of one run: launched, timed, stopped, verified
    decide               the rules of a run, pure; it lists the modules they stand in
    attempt, verify      one attempt of one step; what became of one that was cut off
    outcome              how an attempt ended, as data
    scope, results       what expressions may read; what steps gave
    inputs, code         what a run begins with; what it calls
    view                 what users see of a run
    owner, ids           who works on a run; what runs are called
"""
