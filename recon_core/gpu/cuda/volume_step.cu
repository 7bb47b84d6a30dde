// The volume step of recon_core/cpu/volume_step.py in three launches: the proximal map for the
// present dual, the step of the dual, the proximal map for the new one with momentum and
// multiplier.
//
// One thread per voxel, all its elements in registers. Each launch reads the neighbours that the
// one before wrote, which is why there are three; inside a launch neighbours come from cache. Voxel
// i of (z, y, x) has its neighbours at i +- 1, width, plane. The dual is zero where its difference
// would leave the volume, so that only the volume's start needs a case in the divergence. It is
// stored in units of the TV weight, at most 1, as float or Half.
#include "common.cuh"

constexpr float ALL_ACTIVE = -1e30f;  // a pull towards so low a contrast clips no element

struct Shape {
    int depth, height, width;

    __device__ int plane() const { return height * width; }
    __device__ int size() const { return depth * plane(); }
};

// Arrays and numbers of the block's trial; `coupled` where there is a HAADF term.
template <class Dual>
struct Trial {
    const float* volumes;
    float *after, *point;
    const float* slope;
    Dual* dual;
    const float* u;
    float *multiplier, *contrast, *residual;
    const float *guide, *metric, *weights;
    float tv, rho, beta, ridge, gamma;
    bool coupled, guided;
    Shape shape;
};

#define FIELDS(Dual)                                                                              \
    const float *__restrict__ volumes, float *__restrict__ after, float *__restrict__ point,      \
        const float *__restrict__ slope, Dual *__restrict__ dual, const float *__restrict__ u,   \
        float *__restrict__ multiplier, float *__restrict__ contrast,                             \
        float *__restrict__ residual, const float *__restrict__ guide
#define STEPS                                                                                     \
    const float *__restrict__ metric, const float *__restrict__ tv,                               \
        const float *__restrict__ rho, const float *__restrict__ beta, float ridge,               \
        const float *__restrict__ weights, float gamma
#define SHAPE int coupled, int guided, int depth, int height, int width
#define TRIAL(ELEMENTS)                                                                           \
    trial_of<ELEMENTS>(volumes, after, point, slope, dual, u, multiplier, contrast, residual,     \
                       guide, metric, tv, rho, beta, ridge, weights, gamma, coupled, guided,      \
                       depth, height, width)

template <int ELEMENTS, class Dual>
__device__ inline Trial<Dual> trial_of(FIELDS(Dual), STEPS, SHAPE) {
    const Shape s{depth, height, width};
    const int trial = blockIdx.y;
    const long long each = trial_start(s.size()), all = each * ELEMENTS, one = coupled ? each : 0;
    const long long shown = guided ? each : 0;
    return Trial<Dual>{volumes + all,     after + all,
                       point + all,       slope + all,
                       dual + 3 * all,    u + one,
                       multiplier + one,  contrast + one,
                       residual + one,    guide + shown,
                       metric + (long long)trial * ELEMENTS,
                       weights,           tv[trial],
                       rho[trial],        beta[trial],
                       ridge,             gamma,
                       coupled != 0,      guided != 0,
                       s};
}

// div of one element's dual (3, z, y, x), the negative adjoint of the forward differences.
template <class Dual>
__device__ inline float divergence_at(const Dual* dual, int at, Shape s) {
    const long long size = s.size();
    const Dual *pz = dual + at, *py = pz + size, *px = py + size;
    const float back = at >= s.plane() ? read(pz - s.plane()) : 0.0f;
    const float low = at >= s.width ? read(py - s.width) : 0.0f;
    const float left = at >= 1 ? read(px - 1) : 0.0f;
    return (read(pz) - back) + (read(py) - low) + (read(px) - left);
}

// The minimum of coupling and non-negativity for the trial's dual where the contrast is linear; it
// replaces x. See _minimise of recon_core/cpu/volume_step.py.
template <int ELEMENTS, class Dual>
__device__ inline void minimise(const Trial<Dual>& t, int at, float (&x)[ELEMENTS]) {
    const long long size = t.shape.size();
    const float missing = t.multiplier[at] - t.u[at];
    float center[ELEMENTS], pull = ALL_ACTIVE;
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        const long long here = e * size + at;
        const float rise = t.slope[here] - t.tv * divergence_at(t.dual + 3 * e * size, at, t.shape);
        center[e] = t.point[here] - rise * (1.0f / t.metric[e]);
    }
    // Each step but the last drops an element: as many steps as elements.
    for (int step = 0; step < ELEMENTS; ++step) {
        float a = missing, b = 1.0f;
#pragma unroll
        for (int e = 0; e < ELEMENTS; ++e) {
            const float lean = t.rho * t.weights[e] / t.metric[e];
            // NaN is active, so that it spreads to all elements of its voxel.
            const float on = center[e] <= lean * pull ? 0.0f : t.weights[e];
            a += on * center[e];
            b += on * lean;
        }
        pull = a / b;
    }
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        const float lean = t.rho * t.weights[e] / t.metric[e];
        x[e] = at_least(center[e] - lean * pull, 0.0f);
    }
}

// One Newton step from x, which it replaces, on coupling and non-negativity for the trial's dual.
template <int ELEMENTS, class Dual>
__device__ inline void newton(const Trial<Dual>& t, int at, float (&x)[ELEMENTS]) {
    const long long size = t.shape.size();
    float slope[ELEMENTS], bend[ELEMENTS], force[ELEMENTS], a = 0.0f, b = 0.0f;
    float misfit = t.coupled ? t.multiplier[at] - t.u[at] : 0.0f;
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        Contrast c{0.0f, 0.0f, 0.0f};
        if (t.coupled) c = contrast_of(x[e], t.weights[e], t.gamma);
        slope[e] = c.slope, bend[e] = c.bend, misfit += c.value;
    }
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        const long long here = e * size + at;
        const float m = t.metric[e];
        const float inverse = 1.0f / (m + t.rho * bend[e] * fabsf(misfit));
        force[e] = m * (x[e] - t.point[here]) + t.slope[here] -
                   t.tv * divergence_at(t.dual + 3 * e * size, at, t.shape);
        force[e] = (force[e] + t.rho * slope[e] * misfit) * inverse;
        a += slope[e] * force[e];
        b += slope[e] * slope[e] * inverse;
        slope[e] *= inverse;
    }
    a = t.rho * a / (1.0f + t.rho * b);
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) x[e] = at_least(x[e] - force[e] + slope[e] * a, 0.0f);
}

// The proximal map: in closed form where there is one.
template <int ELEMENTS, class Dual>
__device__ inline void backward(const Trial<Dual>& t, int at, float (&x)[ELEMENTS]) {
    if (t.coupled && t.gamma == 1.0f)
        minimise(t, at, x);
    else
        newton(t, at, x);
}

template <int ELEMENTS>
__device__ inline void load(const float* from, int at, int size, float (&x)[ELEMENTS]) {
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) x[e] = from[(long long)e * size + at];
}

template <int ELEMENTS>
__device__ inline void store(const float (&x)[ELEMENTS], int at, int size, float* to) {
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) to[(long long)e * size + at] = x[e];
}

template <int ELEMENTS, class Dual>
__device__ inline void primal(const Trial<Dual>& t) {
    const int at = index_of_thread(), size = t.shape.size();
    if (at >= size) return;
    float x[ELEMENTS];
    load(t.volumes, at, size, x);
    backward(t, at, x);
    store(x, at, size, t.after);
}

// Forward difference of a volume from its voxel `here`; zero at the far faces.
struct Difference {
    float z, y, x;
};

__device__ inline Difference difference_at(const float* here, int at, Shape s) {
    const bool z = at + s.plane() < s.size(), y = at / s.width % s.height + 1 < s.height;
    const bool x = at % s.width + 1 < s.width;
    return Difference{z ? here[s.plane()] - *here : 0.0f, y ? here[s.width] - *here : 0.0f,
                      x ? here[1] - *here : 0.0f};
}

// Dual += metric/(12 tv) grad of the next volumes, each voxel's vector projected on the unit ball;
// along a guide on an ellipsoid, see project_guided_dual of recon_core/cpu/dual_step.py.
// Without one g = 0, and the same lines are those of TV.
template <int ELEMENTS, class Dual>
__device__ inline void ascend(const Trial<Dual>& t) {
    const Shape s = t.shape;
    const int at = index_of_thread(), size = s.size();
    if (at >= size || !(t.tv > 0.0f)) return;
    Difference g{0.0f, 0.0f, 0.0f};
    float along = 0.0f;
    if (t.guided) {
        g = difference_at(t.guide + at, at, s);
        const float steep = g.z * g.z + g.y * g.y + g.x * g.x;
        const float limit = sqrtf(STEEPEST / at_least(steep, STEEPEST));
        g.z *= limit, g.y *= limit, g.x *= limit;
        along = 1.0f / (1.0f + (steep < STEEPEST ? steep : STEEPEST));
    }
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        Dual *pz = t.dual + 3ll * e * size + at, *py = pz + size, *px = py + size;
        const float z = read(pz), y = read(py), x = read(px), step = t.metric[e] / 12.0f / t.tv;
        const Difference d = difference_at(t.after + (long long)e * size + at, at, s);
        float lean = g.z * z + g.y * y + g.x * x;
        lean -= step * along * (g.z * d.z + g.y * d.y + g.x * d.x);
        const float a = z + step * d.z + lean * g.z;
        const float b = y + step * d.y + lean * g.y;
        const float c = x + step * d.x + lean * g.x;
        const float shrink = 1.0f / sqrtf(at_least(a * a + b * b + c * c, 1.0f));
        lean = along * (g.z * a + g.y * b + g.x * c);
        write(shrink * (a - lean * g.z), pz), write(shrink * (b - lean * g.y), py);
        write(shrink * (c - lean * g.x), px);
    }
}

// The six sums of one voxel, as the volume step returns them.
struct Sums {
    double of[6] = {};
};

// Momentum: point = x + beta (x - x before).
template <int ELEMENTS, class Dual>
__device__ inline void extrapolate(const Trial<Dual>& t, int at, const float (&x)[ELEMENTS],
                                   Sums& sums) {
    const int size = t.shape.size();
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) {
        const long long here = (long long)e * size + at;
        const float moved = x[e] - t.volumes[here];
        sums.of[0] += (double)moved * moved;
        sums.of[1] += (double)x[e] * x[e];
        sums.of[2] += (double)(t.metric[e] * (t.point[here] - x[e])) * moved;
        t.point[here] = x[e] + t.beta * moved;
    }
}

// Raises the multiplier by the primal residual; keeps the residual of u true.
template <int ELEMENTS, class Dual>
__device__ inline void multiply(const Trial<Dual>& t, int at, const float (&x)[ELEMENTS],
                                Sums& sums) {
    float total = 0.0f;
#pragma unroll
    for (int e = 0; e < ELEMENTS; ++e) total += contrast_of(x[e], t.weights[e], t.gamma).value;
    const float u = t.u[at], gap = total - u, moved = total - t.contrast[at];
    sums.of[3] = (double)gap * gap;
    sums.of[4] = (double)moved * moved;
    sums.of[5] = (double)u * u;
    t.multiplier[at] += gap;
    t.residual[at] += t.ridge * (moved + gap);
    t.contrast[at] = total;
}

template <int ELEMENTS, class Dual>
__device__ inline void finish(double* out, const Trial<Dual>& t) {
    const int at = index_of_thread(), size = t.shape.size();
    Sums sums;
    if (at < size) {
        float x[ELEMENTS];
        load(t.after, at, size, x);
        if (t.tv > 0.0f) {
            backward(t, at, x);
            store(x, at, size, t.after);
        }
        extrapolate(t, at, x, sums);
        if (t.coupled) multiply(t, at, x, sums);
    }
    write_sums(sums.of, out);
}

#define KERNELS(NAME, ELEMENTS, Dual)                                                             \
    extern "C" __global__ void primal_##NAME(FIELDS(Dual), STEPS, SHAPE) {                        \
        primal<ELEMENTS>(TRIAL(ELEMENTS));                                                        \
    }                                                                                             \
    extern "C" __global__ void ascend_##NAME(FIELDS(Dual), STEPS, SHAPE) {                        \
        ascend<ELEMENTS>(TRIAL(ELEMENTS));                                                        \
    }                                                                                             \
    extern "C" __global__ void finish_##NAME(double* __restrict__ sums, FIELDS(Dual), STEPS,      \
                                             SHAPE) {                                             \
        finish<ELEMENTS>(sums, TRIAL(ELEMENTS));                                                  \
    }
#define VOLUME_STEP(ELEMENTS)                                                                     \
    KERNELS(ELEMENTS, ELEMENTS, float)                                                            \
    KERNELS(half_##ELEMENTS, ELEMENTS, Half)

VOLUME_STEP(1)
VOLUME_STEP(2)
VOLUME_STEP(3)
VOLUME_STEP(4)
VOLUME_STEP(5)
VOLUME_STEP(6)
VOLUME_STEP(7)
VOLUME_STEP(8)
