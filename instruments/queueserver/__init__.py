"""The same experiments through the queue of a `bluesky-queueserver`: what its processes run, and what asks it to."""
