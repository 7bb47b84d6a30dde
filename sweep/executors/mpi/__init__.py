"""Trials on MPI ranks: the manager, the workers, what carries their messages."""
