// The step for AVX-512 with VNNI.
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")

#include <math.h>
#include <string.h>

#include "cpu.h"
#include "unit.h"

#include "simd_avx512.h"
#include "across_x86.h"
#include "quads_avx512.h"

#define DOTS "dots_avx512.h"
#define RUN edged_run_avx512
#include "step.h"

#endif
