"""Messages for users' own front ends, to subscribers of this process."""
