"""From a descriptor to a plan: every process, queue, slot and size decided; pure."""
