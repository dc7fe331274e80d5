"""Follow a target from a moving drone: tracking core, runtimes, ROS 2 nodes and offline evaluation."""
