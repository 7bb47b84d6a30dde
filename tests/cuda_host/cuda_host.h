// Enough of CUDA to run the kernels of recon_core/cuda on the host, one block after another.
//
// Every CUDA thread of a block is a fiber. A fiber runs until a barrier or its end, and fibers take
// turns in the order of their thread numbers: a missing barrier gives a wrong result every time.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

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

namespace host {

constexpr std::size_t STACK = 64 * 1024;

struct Fiber {
    ucontext_t context;
    dim3 index;
    bool done;
    std::vector<char> stack = std::vector<char>(STACK);
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static Fiber* current = nullptr;
static void (*body)(void**) = nullptr;
static void** arguments = nullptr;
static double shuffled[1024];

inline void start() {
    body(arguments);
    current->done = true;
    swapcontext(&current->context, &scheduler);
}

inline void prepare(Fiber& fiber, dim3 index) {
    fiber.index = index;
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, start, 0);
}

inline bool resume(Fiber& fiber) {
    if (fiber.done) return false;
    current = &fiber;
    threadIdx = fiber.index;
    swapcontext(&scheduler, &fiber.context);
    return !fiber.done;
}

inline void run_block() {
    std::size_t thread = 0;
    for (unsigned int z = 0; z < blockDim.z; ++z)
        for (unsigned int y = 0; y < blockDim.y; ++y)
            for (unsigned int x = 0; x < blockDim.x; ++x)
                prepare(fibers[thread++], dim3{x, y, z});
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (std::size_t t = 0; t < thread; ++t) waiting |= resume(fibers[t]);
    }
}

inline void run_grid(void (*kernel)(void**), const unsigned int* grid, const unsigned int* block,
                     void** args) {
    body = kernel, arguments = args;
    gridDim = dim3{grid[0], grid[1], grid[2]};
    blockDim = dim3{block[0], block[1], block[2]};
    fibers.resize(max<std::size_t>(fibers.size(), block[0] * block[1] * block[2]));
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
    swapcontext(&host::current->context, &host::scheduler);
}

// All threads of the block must take part: the host's barrier is the block's, not the warp's.
inline double __shfl_down_sync(unsigned int, double value, int step) {
    const unsigned int thread =
        threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    host::shuffled[thread] = value;
    __syncthreads();
    const unsigned int from = thread + step;
    const double result = from / 32 == thread / 32 ? host::shuffled[from] : value;
    __syncthreads();
    return result;
}
