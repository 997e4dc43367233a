"""A page that shows a run: its graph, nodes, logs, pictures and latencies; extra `[web]`."""
