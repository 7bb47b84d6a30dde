#pragma once

// Not fmaxf: a NaN must survive to be seen by the solver.
__device__ inline float at_least(float value, float least) {
    return value < least ? least : value;
}

// Sum over the warp in a fixed order, valid in lane 0; every thread of the block must call it.
__device__ inline double warp_sum(double value) {
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_down_sync(0xffffffffu, value, step);
    return value;
}
