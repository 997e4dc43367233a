"""From a plan to a finished run: processes, shared memory, supervision; never touches a sample."""
