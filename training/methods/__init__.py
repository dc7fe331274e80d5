"""One module a method: (batch, progress) -> named losses."""
