"""Offline: read sequences, run the tracker over them, score it, and show the result. No ROS graph."""
