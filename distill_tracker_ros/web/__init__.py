"""The operator's page: a small web server, without ROS. `nodes/web_node.py` joins it to the graph."""
