"""Shared memory, semaphores, fences and forks: what the data plane is built of."""
