"""Runs the cases of clients/conformance. Its README tells the format."""
