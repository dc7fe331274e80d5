"""The subcommands of distill-tracker, one a module: `add` describes its command line, `run` does it."""
