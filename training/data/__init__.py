"""Where training samples come from: data sets, the choice of objects and frames, and how crops are drawn."""
