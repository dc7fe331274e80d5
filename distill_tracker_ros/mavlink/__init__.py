"""The tracker as a MAVLink camera, without ROS. `nodes/mavlink_node.py` joins it to the graph."""
