"""Programs that show how results are used; run from the checkout."""
