// Loops over neighbouring voxels, as recon_core/kernels.py names and defines them.
//
// Volumes (element, z, y, x), the TV dual (3, element, z, y, x) with components along z, y, x. One
// thread per voxel, lanes along x; the neighbours that it reads are its block's or still in cache.
#include "common.cuh"

struct Shape {
    int depth, height, width;

    __device__ long long size() const { return (long long)depth * height * width; }
};

struct Voxel {
    int element, z, y, x;
    long long at;  // index in (element, z, y, x)
};

// The voxel of this thread: columns (element, z, y) along the grid's x, x along its y.
__device__ inline Voxel voxel_of_thread(Shape s) {
    const int column = blockIdx.x * blockDim.y + threadIdx.y, plane = s.depth * s.height;
    const int x = blockIdx.y * blockDim.x + threadIdx.x;
    return Voxel{column / plane, column / s.height % s.depth, column % s.height, x,
                 (long long)column * s.width + x};
}

__device__ inline bool inside(Voxel v, Shape s, int elements) {
    return v.element < elements && v.x < s.width;
}

struct Vector {
    float z, y, x;
};

// Forward differences, zero at the far faces.
__device__ inline Vector gradient_at(const float* x, Voxel v, Shape s) {
    const float here = x[v.at];
    return Vector{v.z + 1 < s.depth ? x[v.at + s.height * s.width] - here : 0.0f,
                  v.y + 1 < s.height ? x[v.at + s.width] - here : 0.0f,
                  v.x + 1 < s.width ? x[v.at + 1] - here : 0.0f};
}

__device__ inline float length(Vector p) {
    return sqrtf(p.z * p.z + p.y * p.y + p.x * p.x);
}

// The negative adjoint of the forward differences; `all` is the size of one component of the dual.
__device__ inline float divergence_at(const float* dual, Voxel v, Shape s, long long all) {
    const float *pz = dual, *py = dual + all, *px = dual + 2 * all;
    float sum = pz[v.at] + py[v.at] + px[v.at];
    if (v.x > 0) sum -= px[v.at - 1];
    if (v.y > 0) sum -= py[v.at - s.width];
    if (v.z > 0) sum -= pz[v.at - s.height * s.width];
    return sum;
}

extern "C" __global__ void total_variation(double* __restrict__ sums, const float* __restrict__ x,
                                           int elements, int depth, int height, int width) {
    const Shape s{depth, height, width};
    Voxel v = voxel_of_thread(s);
    const bool counts = v.element < elements;
    const long long column = v.at / width;
    double total = 0.0;
    for (; counts && v.x < width; v.x += 32, v.at += 32) total += length(gradient_at(x, v, s));
    total = warp_sum(total);
    if (counts && threadIdx.x == 0) sums[column] = total;
}

extern "C" __global__ void dual_step(const float* __restrict__ x, const float* __restrict__ step,
                                     float bound, float* __restrict__ dual, int elements,
                                     int depth, int height, int width) {
    const Shape s{depth, height, width};
    const Voxel v = voxel_of_thread(s);
    if (!inside(v, s, elements)) return;
    const long long all = elements * s.size();
    float *pz = dual + v.at, *py = pz + all, *px = py + all;
    const Vector slope = gradient_at(x, v, s);
    const float by = step[v.element];
    const bool last = v.x + 1 == width;  // nothing to the right: this component stays as it is
    const Vector p{*pz + by * slope.z, *py + by * slope.y, last ? 0.0f : *px + by * slope.x};
    const float shrink = bound / at_least(length(p), bound);
    *pz = p.z * shrink;
    *py = p.y * shrink;
    if (!last) *px = p.x * shrink;
}

extern "C" __global__ void positive_prox(const float* point, const float* __restrict__ dual,
                                         const float* __restrict__ metric, float* out,
                                         int elements, int depth, int height, int width) {
    const Shape s{depth, height, width};
    const Voxel v = voxel_of_thread(s);
    if (!inside(v, s, elements)) return;
    const float pull = divergence_at(dual, v, s, elements * s.size()) / metric[v.element];
    out[v.at] = at_least(point[v.at] + pull, 0.0f);
}

// weight * x^gamma and its first and second derivative.
struct Contrast {
    float value, slope, bend;
};

__device__ inline Contrast contrast_of(float x, float weight, float gamma) {
    if (gamma == 2.0f) return Contrast{weight * x * x, 2.0f * weight * x, 2.0f * weight};
    const float base = at_least(x, 1e-6f);
    const float slope = gamma * weight * powf(base, gamma - 1.0f);
    return Contrast{slope * x / gamma, slope, (gamma - 1.0f) * slope / base};
}

struct Coupling {
    const float *point, *dual, *start, *target, *weights, *metric;
    float rho, gamma;
};

// The Newton step of recon_core/kernels.py:coupled_prox at one voxel, all elements in registers.
template <int ELEMENTS>
__device__ inline void couple(Coupling c, Voxel v, Shape s, float* out) {
    const long long size = s.size();
    Contrast contrast[ELEMENTS];
    float force[ELEMENTS], misfit = -c.target[v.at], a = 0.0f, b = 0.0f;
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        contrast[e] = contrast_of(c.start[v.at + e * size], c.weights[e], c.gamma);
        misfit += contrast[e].value;
    }
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        Voxel here = v;
        here.at += e * size;
        const float slope = contrast[e].slope, m = c.metric[e];
        const float inverse = 1.0f / (m + c.rho * contrast[e].bend * fabsf(misfit));
        const float pull = m * (c.start[here.at] - c.point[here.at]) -
                           divergence_at(c.dual, here, s, ELEMENTS * size) + c.rho * slope * misfit;
        force[e] = pull * inverse;
        contrast[e].bend = slope * inverse;
        a += slope * force[e];
        b += slope * contrast[e].bend;
    }
    a = c.rho * a / (1.0f + c.rho * b);
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        const long long at = v.at + e * size;
        out[at] = at_least(c.start[at] - force[e] + contrast[e].bend * a, 0.0f);
    }
}

// `start` and `out` may be one array: a thread touches only its own voxel of both.
#define COUPLED_PROX(ELEMENTS)                                                                   \
    extern "C" __global__ void coupled_prox_##ELEMENTS(                                          \
        const float* point, const float* __restrict__ dual, const float* start,                  \
        const float* __restrict__ target, const float* __restrict__ weights,                     \
        const float* __restrict__ metric, float rho, float gamma, float* out, int depth,         \
        int height, int width) {                                                                 \
        const Shape s{depth, height, width};                                                     \
        const Voxel v = voxel_of_thread(s);                                                      \
        if (!inside(v, s, 1)) return;                                                            \
        couple<ELEMENTS>(Coupling{point, dual, start, target, weights, metric, rho, gamma}, v, s, \
                         out);                                                                   \
    }

COUPLED_PROX(1)
COUPLED_PROX(2)
COUPLED_PROX(3)
COUPLED_PROX(4)
COUPLED_PROX(5)
COUPLED_PROX(6)
COUPLED_PROX(7)
COUPLED_PROX(8)
