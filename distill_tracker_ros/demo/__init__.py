"""The demo: a video through the real nodes, as separate processes, recorded, scored and drawn."""
