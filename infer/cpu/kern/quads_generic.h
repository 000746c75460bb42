// What a query makes of a block's pages.

#define QUAD_ONE 32768.0f // 1 as a factor of 16-bit products
#define PAGE_SLOT(page) (page)

// means_of sums W probes times the pages' means.
INLINE void means_of(const int W, const int16_t *const *probe, int quads, const uint8_t *means, int32_t *const *out) {
	for (int w = 0; w < W; w++) {
		memset(out[w], 0, 8 * sizeof *out[w]);
		for (int k = 0; k < quads; k++)
			for (int page = 0; page < 8; page++)
				for (int j = 0; j < 4; j++) out[w][page] += probe[w][4 * k + j] * means[32 * k + 4 * page + j];
	}
}

INLINE void quads_of(const int16_t *probe, int quads, const uint8_t *scales, int32_t (*quad)[8], int32_t *centre, float *unit) {
	for (int page = 0; page < 8; page++) {
		int most = 0;
		for (int k = 0; k < quads; k++)
			for (int j = 0; j < 4; j++) {
				const int x = probe[4 * k + j] * scales[32 * k + 4 * page + j];
				most = x > most ? x : -x > most ? -x : most;
			}
		const float f = most > 0 ? QUAD_ONE * 127 / (float)most : QUAD_ONE;
		const int factor = (int)rintf(f < QUAD_ONE - 1 ? f : QUAD_ONE - 1);
		unit[page] = QUAD_ONE / (float)factor, centre[page] = 0;
		for (int k = 0; k < quads; k++) {
			int8_t q[4];
			for (int j = 0; j < 4; j++) {
				q[j] = (int8_t)((probe[4 * k + j] * scales[32 * k + 4 * page + j] * factor + 0x4000) >> 15);
				centre[page] += q[j] * CODE_TOP;
			}
			memcpy(&quad[k][page], q, sizeof q);
		}
	}
}

INLINE vi tops_of(const int32_t (*raw)[8]) {
	vi top;
	for (int i = 0; i < 16; i++) {
		top[i] = raw[i][0];
		for (int j = 1; j < 8; j++) top[i] = raw[i][j] > top[i] ? raw[i][j] : top[i];
	}
	return top;
}

// by_cold gives each of a block's cold pages what its page has.
INLINE vf by_cold(const float *x) {
	vf v;
	for (int i = 0; i < 16; i++) v[i] = x[i / 2];
	return v;
}
