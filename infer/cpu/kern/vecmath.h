// Elementary functions on 16 lanes.

// vf_exp is e^x within 1.25 ulp: x = n ln2 + r, |r| <= ln2/2, and a Taylor
// polynomial of degree 7 in r. Inputs at or below -104 give 0, those from 88.7
// on e^88.7. NaN stays NaN, because vf_max and vf_min return their second
// operand where one is NaN: whoever looks at the logits must see it.
INLINE vf vf_exp(vf x) {
	x = vf_min(vf_set(88.7f), vf_max(vf_set(-104.0f), x));
	vf n = vf_round(vf_mul(x, vf_set(1.44269504f)));
	vf r = vf_fma(n, vf_set(-0.693359375f), x);
	r = vf_fma(n, vf_set(2.12194440e-4f), r);
	vf p = vf_set(1.0f / 5040);
	p = vf_fma(p, r, vf_set(1.0f / 720));
	p = vf_fma(p, r, vf_set(1.0f / 120));
	p = vf_fma(p, r, vf_set(1.0f / 24));
	p = vf_fma(p, r, vf_set(1.0f / 6));
	p = vf_fma(p, r, vf_set(0.5f));
	p = vf_fma(p, r, vf_set(1));
	p = vf_fma(p, r, vf_set(1));
	return vf_pow2(p, n);
}

// vf_exp_rough is e^x within 1e-5 of itself for x <= 0, for weights that are
// estimates anyway; below -87 it gives that of -87.
INLINE vf vf_exp_rough(vf x) {
	x = vf_max(vf_set(-87), x);
	vf n = vf_round(vf_mul(x, vf_set(1.44269504f)));
	vf r = vf_fma(n, vf_set(-0.69314718f), x);
	vf p = vf_fma(vf_set(1.0f / 120), r, vf_set(1.0f / 24));
	p = vf_fma(p, r, vf_set(1.0f / 6));
	p = vf_fma(p, r, vf_set(0.5f));
	p = vf_fma(p, r, vf_set(1));
	p = vf_fma(p, r, vf_set(1));
	return vf_pow2(p, n);
}

INLINE vf vf_silu(vf x) { return vf_div(x, vf_add(vf_set(1), vf_exp(vf_sub(vf_zero(), x)))); }

// vf_gelu is x/2 (1 + tanh(u)), which is x / (1 + e^-2u).
INLINE vf vf_gelu(vf x) {
	vf u = vf_mul(x, vf_fma(vf_mul(x, x), vf_set(0.044715f * 0.79788456f), vf_set(0.79788456f)));
	return vf_div(x, vf_add(vf_set(1), vf_exp(vf_mul(u, vf_set(-2)))));
}
