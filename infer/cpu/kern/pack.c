// Repacking of GGUF weight rows into tiles of 16 rows.
//
// A tile is a sequence of units, each 16 rows by 32 inputs (256 for the K
// types). A unit holds its codes as planes of 4, 2, 1 or 8 bits, then its
// scales, one value per row. Within a plane, 64 bytes are 32 words, word 2r+p
// belonging to row r; shifting all words right by the plane's width steps from
// inputs 2j+p to 2(j+1)+p. So every shift yields the 16x2 int16 operand of one
// widening dot product.
//
// Float weights are [k][16] in their own encoding.

#include "cpu.h"
#include "unit.h"

#include <string.h>

typedef struct {
	uint8_t codes[TILE][256];
	uint16_t d[TILE], m[TILE]; // float16 bits
	uint8_t scale[16][TILE];   // K types: one per group of 16 or 32 inputs
	uint8_t min[16][TILE];
} unit_rows;

static uint16_t half_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static void nibbles32(uint8_t *out, const uint8_t *qs) {
	for (int j = 0; j < 16; j++) out[j] = qs[j] & 15, out[j + 16] = qs[j] >> 4;
}

static void fifth_bits(uint8_t *out, const uint8_t *qh) {
	uint32_t h = qh[0] | qh[1] << 8 | qh[2] << 16 | (uint32_t)qh[3] << 24;
	for (int j = 0; j < 32; j++) out[j] |= (h >> j & 1) << 4;
}

static void read_q2k(unit_rows *u, int r, const uint8_t *b) {
	for (int i = 0; i < 256; i++) u->codes[r][i] = b[16 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
	for (int g = 0; g < 16; g++) u->scale[g][r] = b[g];
	u->d[r] = half_at(b + 80), u->m[r] = half_at(b + 82);
}

static void read_q3k(unit_rows *u, int r, const uint8_t *b) {
	const uint8_t *s = b + 96;
	for (int i = 0; i < 256; i++)
		u->codes[r][i] = (b[32 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) | (b[i % 32] >> (i / 32) & 1) << 2;
	for (int g = 0; g < 16; g++) {
		int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
		u->scale[g][r] = (uint8_t)((low | (s[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32);
	}
	u->d[r] = half_at(b + 108);
}

static void read_scales6(unit_rows *u, int r, const uint8_t *s) {
	for (int g = 0; g < 4; g++) {
		u->scale[g][r] = s[g] & 63, u->min[g][r] = s[g + 4] & 63;
		u->scale[g + 4][r] = (s[g + 8] & 15) | s[g] >> 6 << 4;
		u->min[g + 4][r] = s[g + 8] >> 4 | s[g + 4] >> 6 << 4;
	}
}

static void read_q45k(unit_rows *u, int r, const uint8_t *b, const uint8_t *qh, const uint8_t *qs) {
	u->d[r] = half_at(b), u->m[r] = half_at(b + 2);
	read_scales6(u, r, b + 4);
	for (int c = 0; c < 4; c++)
		for (int l = 0; l < 32; l++) {
			u->codes[r][64 * c + l] = qs[32 * c + l] & 15;
			u->codes[r][64 * c + 32 + l] = qs[32 * c + l] >> 4;
		}
	if (!qh) return;
	for (int c = 0; c < 8; c++)
		for (int l = 0; l < 32; l++) u->codes[r][32 * c + l] |= (qh[l] >> c & 1) << 4;
}

static void read_q6k(unit_rows *u, int r, const uint8_t *b) {
	for (int h = 0; h < 2; h++) {
		const uint8_t *ql = b + 64 * h, *qh = b + 128 + 32 * h;
		uint8_t *out = u->codes[r] + 128 * h;
		for (int l = 0; l < 32; l++) {
			out[l] = (ql[l] & 15) | (qh[l] & 3) << 4;
			out[l + 32] = (ql[l + 32] & 15) | (qh[l] >> 2 & 3) << 4;
			out[l + 64] = ql[l] >> 4 | (qh[l] >> 4 & 3) << 4;
			out[l + 96] = ql[l + 32] >> 4 | qh[l] >> 6 << 4;
		}
	}
	for (int g = 0; g < 16; g++) u->scale[g][r] = b[192 + g];
	u->d[r] = half_at(b + 208);
}

static void read_iq4xs(unit_rows *u, int r, const uint8_t *b) {
	uint16_t high = half_at(b + 2);
	for (int g = 0; g < 8; g++) {
		int s = (b[4 + g / 2] >> (g % 2 * 4) & 15) | (high >> (2 * g) & 3) << 4;
		u->scale[g][r] = (uint8_t)(s - 32);
		nibbles32(u->codes[r] + 32 * g, b + 8 + 16 * g);
	}
	u->d[r] = half_at(b);
}

static void read_row(unit_rows *u, int type, int r, const uint8_t *b) {
	switch (type) {
	case T_Q4_0: case T_IQ4_NL:
		u->d[r] = half_at(b), nibbles32(u->codes[r], b + 2);
		break;
	case T_Q4_1:
		u->d[r] = half_at(b), u->m[r] = half_at(b + 2), nibbles32(u->codes[r], b + 4);
		break;
	case T_Q5_0:
		u->d[r] = half_at(b), nibbles32(u->codes[r], b + 6), fifth_bits(u->codes[r], b + 2);
		break;
	case T_Q5_1:
		u->d[r] = half_at(b), u->m[r] = half_at(b + 2), nibbles32(u->codes[r], b + 8), fifth_bits(u->codes[r], b + 4);
		break;
	case T_Q8_0:
		u->d[r] = half_at(b), memcpy(u->codes[r], b + 2, 32);
		break;
	case T_Q2_K: read_q2k(u, r, b); break;
	case T_Q3_K: read_q3k(u, r, b); break;
	case T_Q4_K: read_q45k(u, r, b, 0, b + 16); break;
	case T_Q5_K: read_q45k(u, r, b, b + 16, b + 48); break;
	case T_Q6_K: read_q6k(u, r, b); break;
	case T_IQ4_XS: read_iq4xs(u, r, b); break;
	}
}

// put_plane writes bits [shift, shift+bits) of 32 inputs' codes.
static inline __attribute__((always_inline)) void put_plane(uint8_t *dst, uint8_t codes[TILE][256], int k0, int shift, const int bits) {
	const int per = 16 / bits; // words hold that many inputs of one parity
	const int mask = (1 << bits) - 1;
	for (int c = 0; c < bits; c++)
		for (int r = 0; r < TILE; r++) {
			const uint8_t *in = codes[r] + k0 + 2 * per * c;
			uint32_t even = 0, odd = 0;
			for (int i = 0; i < per; i++) {
				even |= (uint32_t)(in[2 * i] >> shift & mask) << (bits * i);
				odd |= (uint32_t)(in[2 * i + 1] >> shift & mask) << (bits * i);
			}
			uint32_t both = even | odd << 16;
			memcpy(dst + 64 * c + 4 * r, &both, 4);
		}
}

// put_bytes is put_plane for whole bytes: each four inputs swap their middle two.
static void put_bytes(uint8_t *dst, uint8_t codes[TILE][256]) {
	for (int c = 0; c < 8; c++)
		for (int r = 0; r < TILE; r++) {
			uint32_t v;
			memcpy(&v, codes[r] + 4 * c, 4);
			v = (v & 0xff0000ff) | (v >> 8 & 0xff00) | (v << 8 & 0xff0000);
			memcpy(dst + 64 * c + 4 * r, &v, 4);
		}
}

static void put_unit(uint8_t *dst, unit_rows *u, int type) {
	const unit_layout l = unit_of(type);
	for (int b = 0; b < l.k / 32; b++) {
		if (l.wide) put_bytes(dst, u->codes);
		if (l.nibble) put_plane(dst + b * 256, u->codes, 32 * b, 0, 4);
		if (l.crumb) put_plane(dst + l.crumb_at + b * 128, u->codes, 32 * b, l.nibble ? 4 : 0, 2);
		if (l.bit) put_plane(dst + l.bit_at + b * 64, u->codes, 32 * b, l.nibble ? 4 : 2, 1);
	}
	if (l.sub) memcpy(dst + l.scale_at, u->scale, TILE * l.k / l.group);
	if (l.submin) memcpy(dst + l.min_at, u->min, TILE * l.k / l.group);
	memcpy(dst + l.d_at, u->d, sizeof u->d);
	if (l.m_at) memcpy(dst + l.m_at, u->m, sizeof u->m);
}

static int float_bytes(int type) {
	return type == T_F32 ? 4 : type == T_F16 || type == T_BF16 ? 2 : 0;
}

// edged_tile_bytes is the size of a packed tile, or 0 for an unknown type or
// a k that its units do not divide.
int64_t edged_tile_bytes(int32_t type, int32_t k) {
	if (float_bytes(type)) return (int64_t)k * TILE * float_bytes(type);
	unit_layout l = unit_of(type);
	return l.k && k % l.k == 0 ? (int64_t)k / l.k * l.bytes : 0;
}

static void pack_float(uint8_t *dst, const uint8_t *src, int64_t row_bytes, int rows, int k, int size) {
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < k; i++) memcpy(dst + ((int64_t)i * TILE + r) * size, src + r * row_bytes + (int64_t)i * size, size);
	for (int r = rows; r < TILE; r++)
		for (int i = 0; i < k; i++) memset(dst + ((int64_t)i * TILE + r) * size, 0, size);
}

// edged_pack repacks tiles [tile0, tile1) of a matrix [n, k]. dst is the
// matrix's first tile. Rows past n become zero, whatever dst held.
int32_t edged_pack(int32_t type, const uint8_t *src, int64_t row_bytes, int32_t n, int32_t k, int32_t tile0, int32_t tile1, uint8_t *dst) {
	const int64_t tile_bytes = edged_tile_bytes(type, k);
	if (!tile_bytes) return -1;
	const unit_layout l = unit_of(type);
	for (int32_t t = tile0; t < tile1; t++) {
		const int rows = n - t * TILE < TILE ? n - t * TILE : TILE;
		const uint8_t *in = src + (int64_t)t * TILE * row_bytes;
		uint8_t *out = dst + t * tile_bytes;
		if (float_bytes(type)) {
			pack_float(out, in, row_bytes, rows, k, float_bytes(type));
			continue;
		}
		unit_rows u;
		memset(&u, 0, sizeof u);
		for (int32_t i = 0; i < k / l.k; i++) {
			for (int r = 0; r < rows; r++) read_row(&u, type, r, in + r * row_bytes + (int64_t)i * l.file_bytes);
			put_unit(out + (int64_t)i * l.bytes, &u, type);
		}
	}
	return 0;
}
