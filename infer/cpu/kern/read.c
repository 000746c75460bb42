// Reading memory as fast as one thread can: the ceiling that decode is
// compared with.

#include "cpu.h"

#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
uint64_t edged_read(const uint8_t *mem, int64_t bytes) {
	const uint64_t *p = (const uint64_t *)mem;
	uint64_t sum[32] = {0};
	for (int64_t i = 0; i + 32 <= bytes / 8; i += 32)
		for (int j = 0; j < 32; j++) sum[j] ^= p[i + j];
	for (int j = 1; j < 32; j++) sum[0] ^= sum[j];
	return sum[0];
}
