"""Where trials are evaluated: in this process, in child processes, on MPI ranks, by Dask."""
