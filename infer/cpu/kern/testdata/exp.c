// Measures vf_exp of one set of vector primitives against exp in double, and
// prints the largest error in ulp. SIMD names the header, STEP the distance
// between tried bit patterns.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int32_t __attribute__((may_alias)) pair;

#include SIMD
#include "../vecmath.h"

static double ulps(float got, double want) {
	int exp;
	frexp(want, &exp);
	return fabs(got - want) / ldexp(1, exp - 24 < -149 ? -149 : exp - 24);
}

static float from(uint32_t bits) {
	float f;
	memcpy(&f, &bits, 4);
	return f;
}

int main(void) {
	double worst = 0;
	for (int negative = 0; negative < 2; negative++)
		for (uint32_t bits = 0; from(bits) < 104.5f; bits += 16 * STEP) {
			float in[16], out[16];
			for (int i = 0; i < 16; i++) in[i] = from((bits + i * STEP) | (uint32_t)negative << 31);
			vf_store(out, vf_exp(vf_load(in)));
			for (int i = 0; i < 16; i++) {
				double e = in[i] > 88.7f ? 0 : ulps(out[i], exp(in[i]));
				if (!(e <= worst)) worst = e;
			}
		}
	float ends[16] = {NAN, -NAN, INFINITY, -INFINITY, -104, -1e30f, 89, 1e30f};
	vf_store(ends, vf_exp(vf_load(ends)));
	if (ends[0] == ends[0] || ends[1] == ends[1]) return puts("NaN is lost"), 1;
	for (int i = 2; i < 8; i++)
		if (!(i == 3 || i == 4 || i == 5 ? ends[i] == 0 : ends[i] > 3.3e38f && ends[i] < INFINITY)) return printf("end %d is %g\n", i, ends[i]), 1;
	printf("%.3f\n", worst);
	return 0;
}
