"""Model bundles and the runtimes that run them: the core and one inference runtime a file."""
