// Loops over rays and voxels, named and defined as in recon_core/cpu/kernels.py, and the last sum.
//
// One thread per value of a trial. Arrays that a caller may pass twice (in place) are not
// __restrict__. A channel holds the values of one element, all its rows.
#include "common.cuh"

// sums[trial, block] = sum over the block of term(index); to be folded.
template <class Term>
__device__ inline void sum_each(double* sums, int count, Term term) {
    const int at = index_of_thread();
    const double values[1] = {at < count ? (double)term(at) : 0.0};
    write_sums(values, sums);
}

// out[trial, k] = sum over the blocks of parts[trial, block, k]; one block of threads for each.
extern "C" __global__ void fold(double* __restrict__ out, const double* __restrict__ parts,
                                int blocks, int sums) {
    const double* mine = parts + (long long)blockIdx.y * blocks * sums + blockIdx.x;
    double values[1] = {0.0};
    for (int block = threadIdx.x; block < blocks; block += THREADS)
        values[0] += mine[(long long)block * sums];
    write_sums(values, out);
}

__device__ inline float power_of(float value, float gamma) {
    if (gamma == 2.0f) return value * value;
    return gamma == 1.0f ? value : powf(value, gamma);
}

extern "C" __global__ void power_sum(const float* __restrict__ x, const float* __restrict__ weights,
                                     float gamma, float* __restrict__ out, int elements,
                                     int count) {
    const int at = index_of_thread();
    if (at >= count) return;
    const float* mine = x + trial_start(count) * elements + at;
    float sum = 0.0f;
    for (int e = 0; e < elements; ++e) {
        const float value = mine[(long long)e * count];
        sum += weights[e] * power_of(value, gamma);
    }
    out[trial_start(count) + at] = sum;
}

// Expected counts of one ray.
__device__ inline float expected(float ray, const float* scale, const float* background, int e) {
    return scale[e] * ray + background[e];
}

extern "C" __global__ void poisson_slope(const float* rays, const float* __restrict__ counts,
                                         const float* __restrict__ scale,
                                         const float* __restrict__ background,
                                         const float* __restrict__ knee, float* out, int channel,
                                         int count) {
    const int at = index_of_thread(), e = at / channel;
    if (at >= count) return;
    const long long here = trial_start(count) + at;
    const float y = expected(rays[here], scale, background, e);
    const float below = at_least(knee[e] - y, 0.0f) / knee[e];
    out[here] = scale[e] * (1.0f - counts[at] / at_least(y, knee[e]) * (1.0f + below));
}

extern "C" __global__ void poisson_deviance(double* __restrict__ sums,
                                            const float* __restrict__ rays,
                                            const float* __restrict__ counts,
                                            const float* __restrict__ scale,
                                            const float* __restrict__ background,
                                            const float* __restrict__ knee, int channel,
                                            int count) {
    rays += trial_start(count);
    sum_each(sums, count, [=](int at) {
        const int e = at / channel;
        const float y = expected(rays[at], scale, background, e), safe = at_least(y, knee[e]);
        const float b = counts[at], below = (safe - y) / safe;
        const double value = y - b;
        const float log_ratio = logf(b / safe) + below * (1.0f + 0.5f * below);
        return b > 0.0f ? value + (double)(b * log_ratio) : value;
    });
}

extern "C" __global__ void squares_slope(const float* rays, const float* __restrict__ counts,
                                         const float* __restrict__ scale,
                                         const float* __restrict__ background,
                                         const float* __restrict__ precision, float* out,
                                         int channel, int count) {
    const int at = index_of_thread(), e = at / channel;
    if (at >= count) return;
    const long long here = trial_start(count) + at;
    const float misfit = expected(rays[here], scale, background, e) - counts[at];
    out[here] = scale[e] * precision[e] * misfit;
}

extern "C" __global__ void weighted_squares(double* __restrict__ sums,
                                            const float* __restrict__ rays,
                                            const float* __restrict__ counts,
                                            const float* __restrict__ scale,
                                            const float* __restrict__ background,
                                            const float* __restrict__ precision, int channel,
                                            int count) {
    rays += trial_start(count);
    sum_each(sums, count, [=](int at) {
        const int e = at / channel;
        const double misfit = expected(rays[at], scale, background, e) - counts[at];
        return 0.5 * precision[e] * misfit * misfit;
    });
}

extern "C" __global__ void distance(double* __restrict__ sums, const float* __restrict__ rays,
                                    const float* __restrict__ signal, int count) {
    rays += trial_start(count);
    sum_each(sums, count, [=](int at) {
        const double misfit = rays[at] - signal[at];
        return misfit * misfit;
    });
}

extern "C" __global__ void descent_products(double* __restrict__ sums,
                                            const float* __restrict__ residual,
                                            const float* __restrict__ direction,
                                            const float* __restrict__ image, float ridge,
                                            int count) {
    const int at = index_of_thread();
    const long long here = trial_start(count) + at;
    double values[2] = {0.0, 0.0};
    if (at < count) {
        const double d = direction[here];
        values[0] = residual[here] * d;
        values[1] = d * (image[here] + ridge * d);
    }
    write_sums(values, sums);
}

extern "C" __global__ void plane_products(double* __restrict__ sums,
                                          const float* __restrict__ residual,
                                          const float* __restrict__ direction,
                                          const float* __restrict__ image,
                                          const float* __restrict__ last,
                                          const float* __restrict__ last_image, float ridge,
                                          int count) {
    const int at = index_of_thread();
    const long long here = trial_start(count) + at;
    double values[5] = {0.0, 0.0, 0.0, 0.0, 0.0};
    if (at < count) {
        const double r = residual[here], d = direction[here], p = last[here];
        const double bent = last_image[here] + ridge * p;
        values[0] = r * d;
        values[1] = r * p;
        values[2] = d * (image[here] + ridge * d);
        values[3] = d * bent;
        values[4] = p * bent;
    }
    write_sums(values, sums);
}

extern "C" __global__ void descend(const float* __restrict__ lengths,
                                   const float* __restrict__ direction,
                                   const float* __restrict__ image, float* __restrict__ last,
                                   float* __restrict__ last_image, float ridge,
                                   float* __restrict__ solution, float* __restrict__ residual,
                                   int count) {
    const int at = index_of_thread();
    if (at >= count) return;
    const long long here = trial_start(count) + at;
    const float along = lengths[2 * blockIdx.y], onward = lengths[2 * blockIdx.y + 1];
    const float step = along * direction[here] + onward * last[here];
    const float bent = along * image[here] + onward * last_image[here];
    last[here] = step;
    last_image[here] = bent;
    solution[here] += step;
    residual[here] -= bent + ridge * step;
}

// One row of blocks per element of a trial.
extern "C" __global__ void total_variation(double* __restrict__ sums, const float* __restrict__ x,
                                           int depth, int height, int width) {
    const int plane = height * width, count = depth * plane;
    x += trial_start(count);
    sum_each(sums, count, [=](int at) {
        const float here = x[at];
        const float dz = at / plane + 1 < depth ? x[at + plane] - here : 0.0f;
        const float dy = at / width % height + 1 < height ? x[at + width] - here : 0.0f;
        const float dx = at % width + 1 < width ? x[at + 1] - here : 0.0f;
        return sqrtf(dz * dz + dy * dy + dx * dx);
    });
}

// One row of blocks per element of a trial, whose elements share its guide.
extern "C" __global__ void guided_variation(double* __restrict__ sums, const float* __restrict__ x,
                                            const float* __restrict__ guide, int elements,
                                            int depth, int height, int width) {
    const int plane = height * width, count = depth * plane;
    x += trial_start(count);
    guide += (long long)(blockIdx.y / elements) * count;
    sum_each(sums, count, [=](int at) {
        const int deeper = at / plane + 1 < depth ? at + plane : at;
        const int higher = at / width % height + 1 < height ? at + width : at;
        const int right = at % width + 1 < width ? at + 1 : at;
        const float gz = guide[deeper] - guide[at], gy = guide[higher] - guide[at];
        const float gx = guide[right] - guide[at], steep = gz * gz + gy * gy + gx * gx;
        const float along = steep > STEEPEST ? STEEPEST / steep : 1.0f;
        float dz = x[deeper] - x[at], dy = x[higher] - x[at], dx = x[right] - x[at];
        const float lean = along / (1.0f + along * steep) * (gz * dz + gy * dy + gx * dx);
        dz -= lean * gz, dy -= lean * gy, dx -= lean * gx;
        return sqrtf(dz * dz + dy * dy + dx * dx);
    });
}
