"""The processor: numba loops over voxels and rays, and the FFT filter."""
