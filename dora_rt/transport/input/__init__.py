"""The inputs of a node: waiting, taking in turn, timers, matched inputs, observers."""
