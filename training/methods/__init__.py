"""One module a method: `build(student, recipe)` gives (batch, progress) -> named, unweighted losses."""
