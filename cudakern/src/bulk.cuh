// Copies in bulk, and the barriers in shared memory that they and products of
// warpgroups are waited for with, of compute capability 9.0 and later.
#pragma once

#include "prim.cuh"

static __device__ __forceinline__ void barrier_init(u32 at, u32 arrivals) {
	asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(arrivals) : "memory");
}

// Makes initialised barriers known to the copy engine.
static __device__ __forceinline__ void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

static __device__ __forceinline__ void barrier_arrive(u32 at) {
	asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory");
}

// Arrives, and announces bytes that copies will bring.
static __device__ __forceinline__ void barrier_expect(u32 at, u32 bytes) {
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
}

// Waits for the end of the phase of that parity.
static __device__ __forceinline__ void barrier_wait(u32 at, u32 parity) {
	asm volatile("{ .reg .pred p; again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @!p bra again; }" ::"r"(at), "r"(parity) : "memory");
}

// Whether the phase of that parity has ended.
static __device__ __forceinline__ bool barrier_over(u32 at, u32 parity) {
	u32 over;
	asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" : "=r"(over) : "r"(at), "r"(parity) : "memory");
	return over;
}

// Copies bytes, a multiple of 16, which the barrier counts.
static __device__ __forceinline__ void copy_bulk(u32 dst, const void *src, u32 bytes, u32 barrier) {
	asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst), "l"(src), "r"(bytes), "r"(barrier) : "memory");
}

// Makes what this thread wrote to shared memory visible to the tensor cores and
// to copies in bulk.
static __device__ __forceinline__ void show_to_tensor_cores() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
