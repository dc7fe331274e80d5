"""Runs made visible: tables for a terminal, figures, and one HTML page."""
