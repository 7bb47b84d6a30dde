// Enough of CUDA to run the kernels of recon_core/cuda on the host, one block after another.
//
// Every CUDA thread of a block is a fiber. A fiber runs until a barrier or its end, and fibers take
// turns in the order of their thread numbers: a missing barrier gives a wrong result every time.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

using std::max;
using std::min;

struct dim3 {
    unsigned int x, y, z;
};
static dim3 gridDim, blockDim, blockIdx, threadIdx;

struct alignas(16) float4 {
    float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) {
    return float4{x, y, z, w};
}

template <class T>
T __ldg(const T* from) {
    return *from;
}
inline float __int_as_float(int bits) {
    return std::bit_cast<float>(bits);
}

// Half precision by its bits, as a GPU converts: exactly, and to the nearest, ties to even.
inline float half_to_float(unsigned short bits) {
    const unsigned int exponent = bits & 0x7c00u, sign = (bits & 0x8000u) << 16;
    const unsigned int shifted = (bits & 0x7fffu) << 13;
    const float scaled = std::bit_cast<float>(shifted) * 0x1p112f;  // subnormals too
    const unsigned int kept = exponent == 0x7c00u ? shifted | 0x7f800000u
                                                  : std::bit_cast<unsigned int>(scaled);
    return std::bit_cast<float>(kept | sign);
}

inline unsigned short float_to_half(float value) {
    unsigned int bits = std::bit_cast<unsigned int>(value);
    const unsigned short sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return sign | 0x7e00u;   // NaN
    if (bits >= 0x477ff000u) return sign | 0x7c00u;  // rounds to infinity
    if (bits < 0x38800000u)                          // subnormal: the sum rounds
        return sign | (std::bit_cast<unsigned int>(std::bit_cast<float>(bits) + 0.5f) & 0xffffu);
    return sign | (bits + 0xfffu + (bits >> 13 & 1u) - 0x38000000u) >> 13;
}

namespace host {

constexpr std::size_t STACK = 64 * 1024;

struct Fiber {
    ucontext_t first;  // how it is entered the first time; makes no system call afterwards
    jmp_buf place;
    dim3 index;
    bool entered = false, done = true;
    int shuffles = 0;
    std::vector<char> stack = std::vector<char>(STACK);
};

static std::vector<std::unique_ptr<Fiber>> fibers;
static ucontext_t birthplace;
static std::size_t births = 0;
static jmp_buf scheduler;
static Fiber* current = nullptr;
static void (*body)(void**) = nullptr;
static void** arguments = nullptr;
static double shuffled[2][1024];

inline void pause() {
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

// What a fiber does all its life: thread after thread, block after block.
inline void live() {
    for (;;) {
        body(arguments);
        current->done = true;
        pause();
    }
}

inline void enter(Fiber& fiber) {
    fiber.entered = true;
    getcontext(&fiber.first);
    fiber.first.uc_stack.ss_sp = fiber.stack.data();
    fiber.first.uc_stack.ss_size = STACK - 64 * (births++ % 64);  // tops spread over the cache
    fiber.first.uc_link = nullptr;
    makecontext(&fiber.first, live, 0);
    swapcontext(&birthplace, &fiber.first);
}

inline bool resume(Fiber& fiber) {
    if (fiber.done) return false;
    current = &fiber;
    threadIdx = fiber.index;
    if (_setjmp(scheduler)) return !current->done;
    if (!fiber.entered) enter(fiber);
    _longjmp(fiber.place, 1);
}

inline void run_block() {
    std::size_t threads = 0;
    for (unsigned int z = 0; z < blockDim.z; ++z)
        for (unsigned int y = 0; y < blockDim.y; ++y)
            for (unsigned int x = 0; x < blockDim.x; ++x, ++threads) {
                fibers[threads]->index = dim3{x, y, z};
                fibers[threads]->done = false;
                fibers[threads]->shuffles = 0;
            }
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (std::size_t t = 0; t < threads; ++t) waiting |= resume(*fibers[t]);
    }
}

inline void run_grid(void (*kernel)(void**), const unsigned int* grid, const unsigned int* block,
                     void** args) {
    body = kernel, arguments = args;
    gridDim = dim3{grid[0], grid[1], grid[2]};
    blockDim = dim3{block[0], block[1], block[2]};
    while (fibers.size() < block[0] * block[1] * block[2])
        fibers.push_back(std::make_unique<Fiber>());
    for (unsigned int z = 0; z < gridDim.z; ++z)
        for (unsigned int y = 0; y < gridDim.y; ++y)
            for (unsigned int x = 0; x < gridDim.x; ++x) blockIdx = dim3{x, y, z}, run_block();
}

template <class... Parameters, std::size_t... I>
void call(void (*kernel)(Parameters...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<Parameters>*>(args[I])...);
}

// Calls `kernel` with what `args` points to, as cuLaunchKernel does.
template <class... Parameters>
void unpack(void (*kernel)(Parameters...), void** args) {
    call(kernel, args, std::index_sequence_for<Parameters...>{});
}

}  // namespace host

inline void __syncthreads() {
    host::pause();
}

// The host's barrier of a warp is the block's: stronger, and met by threads that wait as often.
inline void __syncwarp() {
    host::pause();
}

// All threads of the block must take part: the host's barrier is the block's, not the warp's. Two
// buffers in turn, so that one barrier is enough.
inline double __shfl_down_sync(unsigned int, double value, int step) {
    const unsigned int thread =
        threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned int from = thread + step;
    double* values = host::shuffled[host::current->shuffles++ % 2];
    values[thread] = value;
    __syncthreads();
    return from / 32 == thread / 32 ? values[from] : value;
}
