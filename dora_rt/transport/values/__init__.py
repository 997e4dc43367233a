"""Values as bytes: the header in front of each sample, arrays, Arrow, metadata."""
