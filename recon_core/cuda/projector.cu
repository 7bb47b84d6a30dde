// Joseph projection of a tilt series and its exact transpose, no matrix.
//
// Volumes (lead, z, y, x) and projections (lead, angle, ray, x) are read as rows along x of
// `lines` vectors; a column is one vector of one leading index, so that trials and elements are
// only more columns. Rays meet the volume layer by layer (planes of constant z where steep, of
// constant y otherwise) and interpolate between the two rows of a layer that they pass between.
// Both kernels find the position of a ray in a layer by the same fixed-point sum, so that their
// weights agree to the last bit. RAYS and GROUPS are given by the launcher (recon_core/launch.py).
#include "common.cuh"

// One tilt as recon_core/rays.py writes it; positions in voxels, 32.32 fixed point.
struct alignas(16) Tilt {
    long long start, per_ray, per_layer;                 // where a ray passes a layer
    long long ray_start, ray_per_across, ray_per_layer;  // the ray that passes a voxel
    float length;                                        // of a ray inside one layer
    int steep;
};

struct Slices {
    int depth, height, lines, columns, angles;
};

template <class V>
__device__ V zero();
template <>
__device__ inline float zero<float>() {
    return 0.0f;
}
template <>
__device__ inline float4 zero<float4>() {
    return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

__device__ inline void add(float& sum, float weight, float value) {
    sum = fmaf(weight, value, sum);
}
__device__ inline void add(float4& sum, float weight, float4 value) {
    add(sum.x, weight, value.x);
    add(sum.y, weight, value.y);
    add(sum.z, weight, value.z);
    add(sum.w, weight, value.w);
}

__device__ inline int whole(long long position) {
    return (int)(position >> 32);
}
__device__ inline float fraction(long long position) {
    return (float)(unsigned int)position * 2.3283064365386963e-10f;  // 2^-32
}

// The first vector of a column in an array of `rows` rows per leading index.
__device__ inline long long column_start(int column, int lines, int rows) {
    return (long long)(column / lines) * rows * lines + column % lines;
}

// Adds the samples of RAYS neighbouring rays in one layer. Where all rows are INSIDE the volume
// no load waits for a test, and all are in flight together.
template <bool INSIDE, class V>
__device__ inline void sample(const V* layer, long long at, long long per_ray, int rows, int stride,
                              V* sums) {
    V lower[RAYS], upper[RAYS];
    long long position = at;
#pragma unroll
    for (int r = 0; r < RAYS; ++r, position += per_ray) {
        const int row = whole(position);
        lower[r] = INSIDE || (row >= 0 && row < rows) ? layer[row * stride] : zero<V>();
        upper[r] = INSIDE || (row >= -1 && row + 1 < rows) ? layer[(row + 1) * stride] : zero<V>();
    }
    position = at;
#pragma unroll
    for (int r = 0; r < RAYS; ++r, position += per_ray) {
        add(sums[r], 1.0f - fraction(position), lower[r]);
        add(sums[r], fraction(position), upper[r]);
    }
}

template <class V>
__device__ inline void project(const V* volumes, const Tilt* tilts, V* projections, Slices s) {
    const int column = blockIdx.z * blockDim.x + threadIdx.x;
    const int first = (blockIdx.x * blockDim.y + threadIdx.y) * RAYS;
    const int angle = blockIdx.y * blockDim.z + threadIdx.z;
    if (column >= s.columns || first >= s.height || angle >= s.angles) return;
    const Tilt tilt = tilts[angle];
    const int layers = tilt.steep ? s.depth : s.height;
    const int rows = tilt.steep ? s.height : s.depth;
    const int plane = s.height * s.lines;
    const int layer_stride = tilt.steep ? plane : s.lines;
    const int row_stride = tilt.steep ? s.lines : plane;
    const V* layer = volumes + column_start(column, s.lines, s.depth * s.height);
    const long long spread = tilt.per_ray * (RAYS - 1);
    long long at = tilt.start + tilt.per_ray * first;
    V sums[RAYS];
#pragma unroll
    for (int r = 0; r < RAYS; ++r) sums[r] = zero<V>();
    for (int k = 0; k < layers; ++k, at += tilt.per_layer, layer += layer_stride) {
        const int one = whole(at), other = whole(at + spread);
        const int lowest = min(one, other), highest = max(one, other) + 1;
        if (lowest >= 0 && highest < rows)
            sample<true>(layer, at, tilt.per_ray, rows, row_stride, sums);
        else if (highest >= 0 && lowest < rows)
            sample<false>(layer, at, tilt.per_ray, rows, row_stride, sums);
    }
    V* out = projections + column_start(column, s.lines, s.angles * s.height);
#pragma unroll
    for (int r = 0; r < RAYS; ++r) {
        V result = zero<V>();
        add(result, tilt.length, sums[r]);
        if (first + r < s.height) out[(long long)(angle * s.height + first + r) * s.lines] = result;
    }
}

// Weight of a row for a ray at `position` of its layer, as `project` has it.
__device__ inline float overlap(long long position, int row) {
    const float above = fraction(position);
    const int steps = row - whole(position);
    return steps == 0 ? 1.0f - above : steps == 1 ? above : 0.0f;
}

// One voxel row per thread, COLUMNS columns of it. Rays are at least a voxel apart across a
// layer, so only the two next to the voxel can touch it.
template <class V, int COLUMNS>
__device__ inline void back_project(const V* projections, const Tilt* tilts, V* volumes, Slices s) {
    const int first = blockIdx.z * blockDim.x * COLUMNS + threadIdx.x;
    const int y = blockIdx.x * blockDim.y + threadIdx.y;
    const int z = blockIdx.y * blockDim.z + threadIdx.z;
    if (first >= s.columns || y >= s.height || z >= s.depth) return;
    const V* source[COLUMNS];
    V sums[COLUMNS];
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        const int column = min(first + c * (int)blockDim.x, s.columns - 1);
        source[c] = projections + column_start(column, s.lines, s.angles * s.height);
        sums[c] = zero<V>();
    }
    for (int angle = 0; angle < s.angles; ++angle) {
        const Tilt tilt = tilts[angle];
        const int layer = tilt.steep ? z : y, row = tilt.steep ? y : z;
        const int nearest =
            whole(tilt.ray_start + tilt.ray_per_across * row + tilt.ray_per_layer * layer);
        long long at = tilt.start + tilt.per_ray * nearest + tilt.per_layer * layer;
#pragma unroll
        for (int r = 0; r < 2; ++r, at += tilt.per_ray) {
            const int ray = nearest + r;
            const float weight = overlap(at, row) * tilt.length;
            if ((unsigned int)ray >= (unsigned int)s.height || weight == 0.0f) continue;
            const int offset = (angle * s.height + ray) * s.lines;
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) add(sums[c], weight, source[c][offset]);
        }
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        const int column = first + c * (int)blockDim.x;
        if (column >= s.columns) break;
        const long long out = column_start(column, s.lines, s.depth * s.height);
        volumes[out + (long long)(z * s.height + y) * s.lines] = sums[c];
    }
}

#define GEOMETRY int depth, int height, int lines, int columns, int angles
#define SLICES (Slices{depth, height, lines, columns, angles})

extern "C" __global__ void forward_1(const float* __restrict__ volumes,
                                     const Tilt* __restrict__ tilts,
                                     float* __restrict__ projections, GEOMETRY) {
    project<float>(volumes, tilts, projections, SLICES);
}

extern "C" __global__ void forward_4(const float4* __restrict__ volumes,
                                     const Tilt* __restrict__ tilts,
                                     float4* __restrict__ projections, GEOMETRY) {
    project<float4>(volumes, tilts, projections, SLICES);
}

extern "C" __global__ void adjoint_1(const float* __restrict__ projections,
                                     const Tilt* __restrict__ tilts,
                                     float* __restrict__ volumes, GEOMETRY) {
    back_project<float, 1>(projections, tilts, volumes, SLICES);
}

extern "C" __global__ void adjoint_4(const float4* __restrict__ projections,
                                     const Tilt* __restrict__ tilts,
                                     float4* __restrict__ volumes, GEOMETRY) {
    back_project<float4, 1>(projections, tilts, volumes, SLICES);
}

extern "C" __global__ void adjoint_groups(const float4* __restrict__ projections,
                                          const Tilt* __restrict__ tilts,
                                          float4* __restrict__ volumes, GEOMETRY) {
    back_project<float4, GROUPS>(projections, tilts, volumes, SLICES);
}
