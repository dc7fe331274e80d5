"""Where training samples come from: annotated images, synthetic scenes, and how they are augmented."""
