"""Where the bodies of steps run: one module per way of running them, none of which knows the engine.

Layout, from the outside in:
    thread          functions of Python, in a pool of threads
    process         commands of the operating system: `run_command`, and the essay on how it works
    isolated        functions of Python, each in a fresh process: the engine's side
    messages        what it and that process say to each other
    faults          an error of the user's code as data
    child           one command in a thread of its own, from its start to the end of its group
    orphans         what a dead engine left running, found and ended
    group           signals to a group of processes, and whether anybody in it is alive
    command_errors  what its user reads when a command did not start or did not end well
    command         what a command is, and what is known of it when it has ended
    capture         one output stream: its beginning as text, all of it in a `Spill`
"""
