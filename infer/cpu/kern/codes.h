// Reading packed weights: codes of one input pair of 16 rows, and scales.

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

INLINE int is_iq4(int type) { return type == T_IQ4_NL || type == T_IQ4_XS; }
INLINE int has_min(int type) { return type == T_Q4_1 || type == T_Q5_1 || type == T_Q2_K || type == T_Q4_K || type == T_Q5_K; }
INLINE int is_float(int type) { return type == T_F32 || type == T_F16 || type == T_BF16; }

// code_at is input pair j of block b: words (row, input 2j + parity).
INLINE vw code_at(const int type, const uint8_t *u, int b, int j, vw iq4) {
	const unit_layout l = unit_of(type);
	if (l.wide) {
		vw w = vw_load(u + b * 512 + j / 2 * 64);
		return vw_sar(j % 2 ? w : vw_shl(w, 8), 8);
	}
	vw c;
	if (l.nibble) {
		vw w = vw_load(u + b * 256 + j / 4 * 64);
		if (j % 4) w = vw_shr(w, j % 4 * 4);
		if (is_iq4(type)) return vw_pick(iq4, w);
		c = vw_and(w, vw_set(15));
	}
	if (l.crumb) {
		vw w = vw_and(vw_shr(vw_load(u + l.crumb_at + b * 128 + j / 8 * 64), j % 8 * 2), vw_set(3));
		c = l.nibble ? vw_or(c, vw_shl(w, 4)) : w;
	}
	if (l.bit) {
		vw w = vw_and(vw_shr(vw_load(u + l.bit_at + b * 64), j), vw_set(1));
		c = vw_or(c, vw_shl(w, l.nibble ? 4 : 2));
	}
	return l.zero ? vw_sub(c, vw_set(l.zero)) : c;
}

// scale_at is what group g of a unit multiplies its codes with.
INLINE vf scale_at(const int type, const uint8_t *u, int g) {
	const unit_layout l = unit_of(type);
	vf d = vf_half(u + l.d_at);
	if (!l.sub) return d;
	const uint8_t *s = u + l.scale_at + TILE * g;
	if (type == T_Q2_K) return vf_mul(d, vf_u4_low(s));
	return vf_mul(d, l.submin ? vf_u8(s) : vf_i8(s));
}

// min_at is what group g of a unit adds to every weight.
INLINE vf min_at(const int type, const uint8_t *u, int g) {
	const unit_layout l = unit_of(type);
	vf m = vf_half(u + l.m_at);
	if (type == T_Q2_K) return vf_sub(vf_zero(), vf_mul(m, vf_u4_high(u + l.scale_at + TILE * g)));
	if (l.submin) return vf_sub(vf_zero(), vf_mul(m, vf_u8(u + l.min_at + TILE * g)));
	return m;
}

INLINE vf float_at(const int type, const uint8_t *p) {
	return type == T_F16 ? vf_half(p) : type == T_BF16 ? vf_bf16(p) : vf_load((const float *)p);
}
