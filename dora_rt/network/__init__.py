"""One dataflow on several machines: the gateway between the rings of two machines."""
