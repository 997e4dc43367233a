"""Building blocks of the data plane: shared memory, semaphores, fences, forks."""
