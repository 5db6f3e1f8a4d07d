"""One function for each route: from arguments to a call."""
