"""The tracking core: numpy and OpenCV only, no ROS, no inference runtime, no clock, no randomness."""
