"""Recordings: read, also when they are broken, and written, with no ROS installed."""
