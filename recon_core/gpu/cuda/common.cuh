#pragma once

// Every kernel runs THREADS threads (recon_core/gpu/kernels.py) per block, blocks along x over the
// values of one trial and along y over the trials: what a thread does depends on its trial alone.

__device__ inline int index_of_thread() {
    return blockIdx.x * THREADS + threadIdx.x;
}

// Where the values of the block's trial start in an array of `count` values per trial.
__device__ inline long long trial_start(int count) {
    return (long long)blockIdx.y * count;
}

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

// Sums over the block in a fixed order, COUNT of them, to their place in (trial, block, COUNT);
// every thread of the block must call it.
template <int COUNT>
__device__ inline void write_sums(const double (&values)[COUNT], double* sums) {
    __shared__ double warps[COUNT][THREADS / 32];
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
        const double total = warp_sum(values[k]);
        if (threadIdx.x % 32 == 0) warps[k][threadIdx.x / 32] = total;
    }
    __syncthreads();
    if (threadIdx.x >= COUNT) return;
    double total = 0.0;
    for (int warp = 0; warp < THREADS / 32; ++warp) total += warps[threadIdx.x][warp];
    sums[((long long)blockIdx.y * gridDim.x + blockIdx.x) * COUNT + threadIdx.x] = total;
}

// Squared gradient of a guide, at most: see recon_core/cpu/__init__.py.
constexpr float STEEPEST = 9.0f;

// A number stored as float16, rounded to nearest; arithmetic is float32.
struct Half {
    unsigned short bits;
};

#ifdef __CUDACC__  // the host's are in tests/cuda_host/cuda_host.h
// The instructions behind the same two functions of <cuda_fp16.h>, which cupy may not find.
__device__ inline float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

__device__ inline float read(const float* from) {
    return *from;
}

__device__ inline float read(const Half* from) {
    return half_to_float(from->bits);
}

__device__ inline void write(float value, float* to) {
    *to = value;
}

__device__ inline void write(float value, Half* to) {
    to->bits = float_to_half(value);
}

// weight * x^gamma and its first and second derivative, for x >= 0.
struct Contrast {
    float value, slope, bend;
};

__device__ inline Contrast contrast_of(float x, float weight, float gamma) {
    if (gamma == 2.0f) return Contrast{weight * x * x, 2.0f * weight * x, 2.0f * weight};
    if (gamma == 1.0f) return Contrast{weight * x, weight, 0.0f};
    const float base = at_least(x, 1e-6f);
    const float slope = gamma * weight * powf(base, gamma - 1.0f);
    return Contrast{slope * x / gamma, slope, (gamma - 1.0f) * slope / base};
}
