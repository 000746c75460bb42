// The step for any processor, NEON included.
#include <math.h>
#include <string.h>

#include "cpu.h"
#include "unit.h"

#include "simd_generic.h"
#include "quads_generic.h"

#define RUN edged_run_generic
#include "step.h"

