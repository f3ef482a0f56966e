"""The development profile: a tree of processes on one machine, with the servers whose programs are there."""
