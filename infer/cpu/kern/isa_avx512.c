// The step for AVX-512 with VNNI.
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")

#include <math.h>
#include <string.h>

#include "cpu.h"
#include "unit.h"

#include "simd_avx512.h"
#include "quads_x86.h"
#include "six_x86.h"

#define RUN edged_run_avx512
#include "step.h"

#endif
