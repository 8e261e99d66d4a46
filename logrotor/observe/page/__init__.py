"""One self-contained file that shows how everything stands: attention first, plots, no script, no request."""
