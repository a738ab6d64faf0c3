"""The `smf` command: click parses, the engine works, and this package only translates between it and a terminal.

Layout:
    app         the command group, and the boundary where every error becomes a line and an exit code
    commands    one module per command, imported when it is asked for
    options     the options that commands share
    exits       exit codes
    failures    errors as text and as JSON
    problems    what is wrong with a document, with the place and a caret; `github` for GitHub Actions
    carry       a run from its start to its rest: progress, signals, summary; shared by `run`, `resume` and `retry`
    control     what `pause` and `cancel` share
    outside     what `approve`, `reject`, `signal` and `resolve` share; `actor` says who gives the command
    waiting     what a run waits for, and the commands that say it
    signals     what Ctrl-C and its relatives do to a run
    progress    a run's progress, as lines; `live` shows it as a table on a terminal
    inputs      the inputs of a run, from the command line
    stores      which store a command works on
    describe    runs as JSON; `times` reads and shows times
    output      the one way out: escaping, colours, columns, JSON, readers that went away

Data goes to stdout, talk to stderr.
"""

from statemachine_flow.cli.app import main

__all__ = ["main"]
