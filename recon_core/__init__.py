"""Arrays, tilt geometry, projector, the fused objective, its solver, and metrics."""
