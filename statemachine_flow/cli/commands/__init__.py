"""One module per command of `smf`, each with its click command as `command`; `app` imports what is asked for."""
