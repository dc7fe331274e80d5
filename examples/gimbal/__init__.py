"""A gimbal that keeps a target in the picture."""
