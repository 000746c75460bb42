// Which vector instructions this processor has.

#include "cpu.h"
#include "unit.h"

void edged_run_generic(exec *e, int32_t thread);
#if defined(__x86_64__)
#include <cpuid.h>

void edged_run_avx2(exec *e, int32_t thread);
void edged_run_avx512(exec *e, int32_t thread);

// Processors with AVX2 have F16C, but a virtual machine's may hide it; older
// compilers do not know it by name.
static int has_f16c(void) {
	unsigned a, b, c = 0, d;
	return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

static int has(int32_t isa) {
	switch (isa) {
	case 2:
		return has(1) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
			__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
	case 1:
		return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
	}
	return isa == 0;
}
#else
static int has(int32_t isa) { return isa == 0; }
#endif

// edged_run_for returns null where the processor lacks the instructions.
run_fn edged_run_for(int32_t isa) {
	if (!has(isa)) return 0;
#if defined(__x86_64__)
	if (isa == 2) return edged_run_avx512;
	if (isa == 1) return edged_run_avx2;
#endif
	return edged_run_generic;
}

int32_t edged_best_isa(void) {
	for (int32_t isa = 2; isa > 0; isa--)
		if (has(isa)) return isa;
	return 0;
}

const char *edged_isa_name(int32_t isa) {
	(void)isa; // elsewhere there is one
#if defined(__x86_64__)
	return isa == 2 ? "avx512-vnni" : isa == 1 ? "avx2" : "generic";
#elif defined(__ARM_NEON)
	return "neon";
#else
	return "generic";
#endif
}

// edged_scratch_bytes is what one thread needs for two weight panels of max_k
// inputs, for one attention tile and a dequantized page, or for the shares of pages
// among which it chooses and the lists of a choice.
int64_t edged_scratch_bytes(int32_t max_k, int32_t dim, int32_t pages, int32_t chosen) {
	int64_t panels = 2 * ((int64_t)max_k * TILE * 2 + 2 * ((int64_t)max_k / 16 * TILE * 4));
	int64_t lanes = ((int64_t)dim + 15) / 16 * 16;
	int64_t tile = (3 * MAX_QUERY * (int64_t)dim + MAX_QUERY * SPAN + PAGE_TOK * (int64_t)dim + (2 * MAX_QUERY + 4) * lanes) * 4;
	int64_t pick = ((int64_t)pages + 6 * (int64_t)chosen) * 4;
	int64_t most = tile > pick ? tile : pick;
	return (panels > most ? panels : most) + 64;
}
