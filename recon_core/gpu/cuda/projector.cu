// Joseph projection of a tilt series and its exact transpose, no matrix.
//
// Volumes (lead, z, y, x) and projections (lead, angle, ray, x) are read as rows along x of
// `lines` vectors; a column is one vector of one leading index, so that trials and elements are
// only more columns. Both kernels sum rows: a row of the output takes up, step by step, a pair of
// neighbouring rows of the input. A ray steps through the layers of the volume (planes of constant
// z where steep, of constant y otherwise) and interpolates between the two voxel rows of a layer
// that it passes between; a voxel row steps through the tilts and takes up the two rays beside it.
// Which pair, and its weights, is the same for all columns: the threads of an output row, lanes of
// one warp, work it out once and share it. Both kernels find the position of a ray in a layer by
// the same fixed-point sum, so that their weights agree to the last bit. GROUPS, CHUNK, ROWS and
// BLOCK are defined by the launcher (recon_core/gpu/kernels.py).
#include "common.cuh"

__device__ inline int whole(long long position) {
    return (int)(position >> 32);
}
__device__ inline float fraction(long long position) {
    return (float)(unsigned int)position * 2.3283064365386963e-10f;  // 2^-32
}

// One tilt as in recon_core/projection/rays.py; positions in voxels, 32.32 fixed point.
struct Tilt {
    long long start, per_ray, per_layer;                 // where a ray passes a layer
    long long ray_start, ray_per_across, ray_per_layer;  // the ray that passes a voxel
    float length;                                        // of a ray inside one layer
    int steep;

    __device__ long long position(int ray, int layer) const {
        return start + per_ray * ray + per_layer * layer;
    }
    __device__ long long ray_at(int row, int layer) const {
        return ray_start + ray_per_across * row + ray_per_layer * layer;
    }
};

// All tilts, eight bytes of each after another: lanes with neighbouring tilts read neighbours.
struct Tilts {
    const long long* fields;
    int count;

    __device__ Tilt operator[](int angle) const {
        const long long* const at = fields + angle;
        const long long last = at[6 * count];
        return Tilt{at[0], at[count], at[2 * count], at[3 * count], at[4 * count], at[5 * count],
                    __int_as_float((int)last), whole(last)};
    }
};

struct Slices {
    int depth, height, lines, columns, angles;

    __device__ int voxel_rows() const { return depth * height; }
    __device__ int rays() const { return angles * height; }
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

// The first vector of a column in an array of `rows` rows per leading index.
__device__ inline long long column_start(int column, int lines, int rows) {
    return (long long)(column / lines) * rows * lines + column % lines;
}

// Two rows of the input, by their offsets in a column: what a row of the output takes up in one
// step. A row of weight 0 is not read, so that nothing of it, were it NaN, reaches the sum.
struct alignas(16) Pair {
    int first, second;
    float weight, other;
};

// The row `at` and the one `apart` behind it; the first is missing only where both are.
__device__ inline Pair pair_of(int at, int apart, float weight, float other) {
    if (weight == 0.0f) return Pair{at + apart, at + apart, other, 0.0f};
    return Pair{at, at + apart, weight, other};
}

__device__ inline int layers_of(const Tilt& tilt, const Slices& s) {
    return tilt.steep ? s.depth : s.height;
}

// A row of the projections; its steps are layers.
struct Ray {
    Tilts tilts;
    int angle, ray;
    Slices s;

    __device__ Pair pair(int layer) const {
        const Tilt tilt = tilts[angle];
        const int rows = tilt.steep ? s.height : s.depth, plane = s.height * s.lines;
        const int apart = tilt.steep ? s.lines : plane, next = tilt.steep ? plane : s.lines;
        const long long position = tilt.position(ray, layer);
        const int row = whole(position);
        const float above = fraction(position);
        if (layer >= layers_of(tilt, s) || row < -1 || row >= rows) return Pair{};
        return pair_of(layer * next + row * apart, apart, row >= 0 ? 1.0f - above : 0.0f,
                       row + 1 < rows ? above : 0.0f);
    }
};

// A row of voxels; its steps are tilts. Rays are at least a voxel apart across a layer, so only
// the two beside the voxel can touch it.
struct Voxels {
    Tilts tilts;
    int z, y;
    Slices s;

    __device__ Pair pair(int angle) const {
        if (angle >= s.angles) return Pair{};
        const Tilt tilt = tilts[angle];
        const int layer = tilt.steep ? z : y, row = tilt.steep ? y : z;
        const int ray = whole(tilt.ray_at(row, layer));
        return pair_of((angle * s.height + ray) * s.lines, s.lines, weight(tilt, ray, layer, row),
                       weight(tilt, ray + 1, layer, row));
    }

    // As Ray::pair has it.
    __device__ float weight(const Tilt& tilt, int ray, int layer, int row) const {
        if (ray < 0 || ray >= s.height) return 0.0f;
        const long long position = tilt.position(ray, layer);
        const int steps = row - whole(position);
        const float above = fraction(position);
        return tilt.length * (steps == 0 ? 1.0f - above : steps == 1 ? above : 0.0f);
    }
};

// What a thread sums of its row: GROUPS columns, as far apart as the block is wide.
template <class V>
struct Columns {
    int first;
    unsigned long long input[GROUPS];  // addresses as numbers: an offset is one multiply-add
    V sums[GROUPS];

    __device__ Columns(const V* array, int rows, const Slices& s) {
        first = blockIdx.z * blockDim.x * GROUPS + threadIdx.x;
#pragma unroll
        for (int c = 0; c < GROUPS; ++c) {
            const int column = min(first + c * (int)blockDim.x, s.columns - 1);
            input[c] = (unsigned long long)(array + column_start(column, s.lines, rows));
            sums[c] = zero<V>();
        }
    }

    __device__ V at(int c, int offset) const {
        return __ldg((const V*)(input[c] + (unsigned long long)sizeof(V) * (unsigned int)offset));
    }

    // All loads are in flight together.
    __device__ void add_pair(const Pair& pair) {
        V first[GROUPS], second[GROUPS];
#pragma unroll
        for (int c = 0; c < GROUPS; ++c) first[c] = at(c, pair.first);
#pragma unroll
        for (int c = 0; c < GROUPS; ++c) second[c] = zero<V>();
        if (pair.other != 0.0f) {
#pragma unroll
            for (int c = 0; c < GROUPS; ++c) second[c] = at(c, pair.second);
        }
#pragma unroll
        for (int c = 0; c < GROUPS; ++c) {
            add(sums[c], pair.weight, first[c]);
            add(sums[c], pair.other, second[c]);
        }
    }

    // All threads of a warp that have not returned must call it, with as many steps; those of a row
    // are of one warp.
    template <class Row>
    __device__ void add_pairs(const Row& row, int steps) {
        __shared__ Pair staged[ROWS][CHUNK + 1];  // one more: rows of a warp differ in their banks
        Pair* const pairs = staged[threadIdx.z * blockDim.y + threadIdx.y];
        for (int start = 0; start < steps; start += CHUNK) {
#pragma unroll 1
            for (int k = threadIdx.x; k < CHUNK; k += blockDim.x) pairs[k] = row.pair(start + k);
            __syncwarp();
#pragma unroll 2
            for (int k = 0; k < CHUNK; ++k) {
                const Pair pair = pairs[k];
                if (pair.weight != 0.0f) add_pair(pair);
            }
            __syncwarp();
        }
    }

    __device__ void store(V* array, int rows, int row, float scale, const Slices& s) const {
#pragma unroll
        for (int c = 0; c < GROUPS; ++c) {
            const int column = first + c * (int)blockDim.x;
            if (column >= s.columns) break;
            V result = zero<V>();
            add(result, scale, sums[c]);
            array[column_start(column, s.lines, rows) + (long long)row * s.lines] = result;
        }
    }
};

// Layers of the tilt of the block that has most.
__device__ inline int most_layers(const Tilts& tilts, const Slices& s) {
    const int first = blockIdx.y * blockDim.z, end = min(first + (int)blockDim.z, s.angles);
    int most = 0;
#pragma unroll 1
    for (int angle = first; angle < end; ++angle) most = max(most, layers_of(tilts[angle], s));
    return most;
}

template <class V>
__device__ inline void project(const V* volumes, Tilts tilts, V* projections, Slices s) {
    const int ray = blockIdx.x * blockDim.y + threadIdx.y;
    const int angle = blockIdx.y * blockDim.z + threadIdx.z;
    if (ray >= s.height || angle >= s.angles) return;
    const int layers = most_layers(tilts, s);
    Columns<V> columns(volumes, s.voxel_rows(), s);
    columns.add_pairs(Ray{tilts, angle, ray, s}, layers);
    columns.store(projections, s.rays(), angle * s.height + ray, tilts[angle].length, s);
}

template <class V>
__device__ inline void back_project(const V* projections, Tilts tilts, V* volumes, Slices s) {
    const int y = blockIdx.x * blockDim.y + threadIdx.y;
    const int z = blockIdx.y * blockDim.z + threadIdx.z;
    if (y >= s.height || z >= s.depth) return;
    Columns<V> columns(projections, s.rays(), s);
    columns.add_pairs(Voxels{tilts, z, y, s}, s.angles);
    columns.store(volumes, s.voxel_rows(), z * s.height + y, 1.0f, s);
}

#define GEOMETRY int depth, int height, int lines, int columns, int angles
#define SLICES (Slices{depth, height, lines, columns, angles})
#define TILTS (Tilts{tilts, angles})
#define BOUNDS __launch_bounds__(BLOCK, 1)

extern "C" __global__ void BOUNDS forward_1(const float* __restrict__ volumes,
                                            const long long* __restrict__ tilts,
                                            float* __restrict__ projections, GEOMETRY) {
    project<float>(volumes, TILTS, projections, SLICES);
}

extern "C" __global__ void BOUNDS forward_4(const float4* __restrict__ volumes,
                                            const long long* __restrict__ tilts,
                                            float4* __restrict__ projections, GEOMETRY) {
    project<float4>(volumes, TILTS, projections, SLICES);
}

extern "C" __global__ void BOUNDS adjoint_1(const float* __restrict__ projections,
                                            const long long* __restrict__ tilts,
                                            float* __restrict__ volumes, GEOMETRY) {
    back_project<float>(projections, TILTS, volumes, SLICES);
}

extern "C" __global__ void BOUNDS adjoint_4(const float4* __restrict__ projections,
                                            const long long* __restrict__ tilts,
                                            float4* __restrict__ volumes, GEOMETRY) {
    back_project<float4>(projections, TILTS, volumes, SLICES);
}
