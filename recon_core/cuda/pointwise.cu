// Loops without neighbours over (element, row, x), as recon_core/kernels.py names and defines them.
//
// One warp per row, lanes along x: loads are contiguous and every row's sum is taken in float64 in
// one fixed order. Arrays that a caller may pass twice (in place) are not __restrict__.
#include "common.cuh"

__device__ inline int row_of_thread() {
    return blockIdx.x * blockDim.y + threadIdx.y;
}

// sums[row] = sum over x of term(element, index).
template <class Term>
__device__ inline void sum_rows(double* sums, int elements, int rows, int width, Term term) {
    const int row = row_of_thread();
    const bool inside = row < elements * rows;
    double total = 0.0;
    for (int j = threadIdx.x; inside && j < width; j += 32)
        total += term(row / rows, (long long)row * width + j);
    total = warp_sum(total);
    if (inside && threadIdx.x == 0) sums[row] = total;
}

extern "C" __global__ void dot(double* __restrict__ sums, const float* __restrict__ a,
                               const float* __restrict__ b, int rows, int width) {
    sum_rows(sums, 1, rows, width, [=](int, long long at) { return (double)a[at] * b[at]; });
}

extern "C" __global__ void poisson_deviance(double* sums, const float* signal,
                                            const float* counts, const float* background,
                                            float* out, int elements, int rows, int width) {
    sum_rows(sums, elements, rows, width, [=](int e, long long at) {
        const float b = counts[at];
        const float y = at_least(signal[at] + background[e], 1e-6f);
        out[at] = 1.0f - b / y;
        const double value = y - b;
        return b > 0.0f ? value + (double)(b * logf(b / y)) : value;
    });
}

extern "C" __global__ void weighted_squares(double* sums, const float* signal,
                                            const float* counts, const float* background,
                                            const float* precision, float* out, int elements,
                                            int rows, int width) {
    sum_rows(sums, elements, rows, width, [=](int e, long long at) {
        const float r = signal[at] + background[e] - counts[at];
        out[at] = precision[e] * r;
        return 0.5 * (double)(precision[e] * r) * r;
    });
}

extern "C" __global__ void power_sum(const float* __restrict__ x, const float* __restrict__ weights,
                                     float gamma, float* __restrict__ out, int elements, int rows,
                                     int width) {
    const int row = row_of_thread();
    if (row >= rows) return;
    for (int j = threadIdx.x; j < width; j += 32) {
        float sum = 0.0f;
        for (int e = 0; e < elements; ++e) {
            const float value = x[((long long)e * rows + row) * width + j];
            sum += weights[e] * (gamma == 2.0f ? value * value : powf(value, gamma));
        }
        out[(long long)row * width + j] = sum;
    }
}

extern "C" __global__ void extrapolate(double* __restrict__ sums,
                                       const float* __restrict__ before,
                                       const float* __restrict__ now, float beta,
                                       const float* __restrict__ metric, float* __restrict__ point,
                                       int elements, int rows, int width) {
    const int row = row_of_thread();
    double change = 0.0, size = 0.0, uphill = 0.0;
    for (int e = 0; row < rows && e < elements; ++e) {
        for (int j = threadIdx.x; j < width; j += 32) {
            const long long at = ((long long)e * rows + row) * width + j;
            const float n = now[at], d = n - before[at];
            change += (double)d * d;
            size += (double)n * n;
            uphill += (double)(metric[e] * (point[at] - n)) * d;
            point[at] = n + beta * d;
        }
    }
    change = warp_sum(change), size = warp_sum(size), uphill = warp_sum(uphill);
    if (row < rows && threadIdx.x == 0) {
        sums[row] = change;
        sums[rows + row] = size;
        sums[2 * rows + row] = uphill;
    }
}
