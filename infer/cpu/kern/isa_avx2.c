// The step for AVX2 with FMA and F16C.
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")

#include <math.h>
#include <string.h>

#include "cpu.h"
#include "unit.h"

#include "simd_avx2.h"
#include "across_x86.h"
#include "quads_avx2.h"

#define RUN edged_run_avx2
#include "step.h"

#endif
