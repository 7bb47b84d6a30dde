"""Phase maps and hyperparameter atlases for fused multi-modal electron tomography."""
