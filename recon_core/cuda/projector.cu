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
struct Tilt {
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

template <class V>
__device__ inline V row_of(const V* layer, int row, int rows, int stride) {
    return (unsigned int)row < (unsigned int)rows ? layer[row * stride] : zero<V>();
}

// The first vector of a column in an array of `rows` rows per leading index.
__device__ inline long long column_start(int column, int lines, int rows) {
    return (long long)(column / lines) * rows * lines + column % lines;
}

// RAYS neighbouring rays of one tilt per thread, in the order in which they cross a layer: the
// upper row of one is mostly the lower row of the next.
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
    const bool upward = tilt.per_ray > 0;
    const long long spread = upward ? tilt.per_ray : -tilt.per_ray;
    const V* layer = volumes + column_start(column, s.lines, s.depth * s.height);
    long long at = tilt.start + tilt.per_ray * (upward ? first : first + RAYS - 1);
    V sums[RAYS];
#pragma unroll
    for (int r = 0; r < RAYS; ++r) sums[r] = zero<V>();
    for (int k = 0; k < layers; ++k, at += tilt.per_layer, layer += layer_stride) {
        long long position = at;
        V upper = row_of(layer, whole(position), rows, row_stride);
        int held = whole(position);
#pragma unroll
        for (int r = 0; r < RAYS; ++r, position += spread) {
            const int row = whole(position);
            const V lower = row == held ? upper : row_of(layer, row, rows, row_stride);
            held = row + 1;
            upper = row_of(layer, held, rows, row_stride);
            add(sums[r], 1.0f - fraction(position), lower);
            add(sums[r], fraction(position), upper);
        }
    }
    const long long out = column_start(column, s.lines, s.angles * s.height);
#pragma unroll
    for (int r = 0; r < RAYS; ++r) {
        const int ray = upward ? first + r : first + RAYS - 1 - r;
        V result = zero<V>();
        add(result, tilt.length, sums[r]);
        if (ray < s.height) projections[out + (long long)(angle * s.height + ray) * s.lines] = result;
    }
}

// Weight of a row for a ray at `position` of its layer, as `project` has it.
__device__ inline float overlap(long long position, int row) {
    const int below = whole(position);
    if (below == row) return 1.0f - fraction(position);
    return below + 1 == row ? fraction(position) : 0.0f;
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
