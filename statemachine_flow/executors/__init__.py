"""Where the bodies of steps run: one module per way of running them, none of which knows the engine."""
