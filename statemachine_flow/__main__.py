"""`python -m statemachine_flow` is the `smf` command."""

import sys

from statemachine_flow.cli import main

sys.exit(main())
