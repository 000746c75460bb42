// Numbers, instructions and block-wide sums that all kernels share. No CUDA
// headers: the compiler's built-in functions and PTX are enough.
#pragma once

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long long u64;

#define INF __int_as_float(0x7f800000)

#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)

// A kernel begins, where the device can, before the one in front of it has
// ended. What that one wrote may be read after after_previous().
static __device__ __forceinline__ void after_previous() {
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// From here on the next kernel may begin.
static __device__ __forceinline__ void allow_next() {
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;");
#endif
}

static __device__ __forceinline__ float from_half(u16 h) {
	float f;
	asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
	return f;
}

static __device__ __forceinline__ u16 to_half(float f) {
	u16 h;
	asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
	return h;
}

// lo goes to the lower half.
static __device__ __forceinline__ u32 to_half2(float lo, float hi) {
	u32 r;
	asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
	return r;
}

static __device__ __forceinline__ u32 half2_fma(u32 a, u32 b, u32 c) {
	u32 r;
	asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
	return r;
}

static __device__ __forceinline__ u32 half2_mul(u32 a, u32 b) {
	u32 r;
	asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
	return r;
}

static __device__ __forceinline__ u32 half2_add(u32 a, u32 b) {
	u32 r;
	asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
	return r;
}

// (a & b) | c in one instruction.
static __device__ __forceinline__ u32 and_or(u32 a, u32 b, u32 c) {
	u32 r;
	asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
	return r;
}

// d += a [16, 16] b [16, 8], of float16.
static __device__ __forceinline__ void mma16(float d[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
	asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		: "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// d += a [16, 32] b [32, 8], of int8.
static __device__ __forceinline__ void mma32_int(int d[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
	asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
		: "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// d += a [16, 16] b [16, 8], of int8.
static __device__ __forceinline__ void mma16_int(int d[4], u32 a0, u32 a1, u32 b0) {
	asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
		: "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
		: "r"(a0), "r"(a1), "r"(b0));
}

static __device__ __forceinline__ u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// Copies 16 bytes to shared memory while the thread goes on; zeros where !ok.
static __device__ __forceinline__ void copy_async(u32 dst, const void *src, bool ok) {
	int n = ok ? 16 : 0;
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(n) : "memory");
}

static __device__ __forceinline__ void copy_async(u32 dst, const void *src) {
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
}

static __device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most n groups of the thread's copies are under way.
template <int n> static __device__ __forceinline__ void copy_wait() {
	asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

static __device__ __forceinline__ void load_matrices(u32 r[4], u32 at) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
		: "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

static __device__ __forceinline__ void load_matrices_turned(u32 r[4], u32 at) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
		: "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// 16 bytes that are read once.
static __device__ __forceinline__ uint4 load_stream(const void *p) {
	uint4 v;
	asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
	return v;
}

static __device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
	for (int i = 16; i > 0; i /= 2)
		v += __shfl_xor_sync(~0u, v, i);
	return v;
}

static __device__ __forceinline__ float warp_max(float v) {
#pragma unroll
	for (int i = 16; i > 0; i /= 2)
		v = fmaxf(v, __shfl_xor_sync(~0u, v, i));
	return v;
}

// Largest of the four lanes that share a row of a product, and their sum.
static __device__ __forceinline__ float quad_max(float v) {
	v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
	return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}

template <class T> static __device__ __forceinline__ T quad_sum(T v) {
	v += __shfl_xor_sync(~0u, v, 1);
	return v + __shfl_xor_sync(~0u, v, 2);
}

// Sum and largest over a block of at most 32 warps; every thread gets both.
static __device__ __forceinline__ void block_reduce(float *sum, float *top) {
	__shared__ float s[32], m[32];
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = (blockDim.x + 31) / 32;
	float a = warp_sum(*sum), b = warp_max(*top);
	__syncthreads(); // whoever still reads what a call before left
	if (lane == 0) {
		s[warp] = a;
		m[warp] = b;
	}
	__syncthreads();
	a = lane < warps ? s[lane] : 0;
	b = lane < warps ? m[lane] : 0;
	*sum = warp_sum(a);
	*top = warp_max(b);
}

// SiLU, or the tanh form of GELU: (1 + tanh(u)) / 2 is a sigmoid of 2u.
static __device__ __forceinline__ float activate(int gelu, float x) {
	float z = gelu ? 1.5957691216057308f * (x + 0.044715f * x * x * x) : x;
	return __fdividef(x, 1 + exp2f(-1.4426950408889634f * z));
}
