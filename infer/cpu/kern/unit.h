// Layout of packed units: what lies where in 16 rows by 32 or 256 inputs.
#ifndef EDGED_UNIT_H
#define EDGED_UNIT_H

#include "cpu.h"

typedef struct {
	int k;          // inputs per unit; 0 for types without units
	int group;      // inputs that share a scale
	int file_bytes; // one row's block in the file
	int wide, nibble, crumb, bit; // planes of 8, 4, 2, 1 bits
	int sub, submin;              // 8-bit scales and minimums per group
	int zero;                     // code that stands for 0
	int crumb_at, bit_at, scale_at, min_at, d_at, m_at, bytes;
} unit_layout;

#define UNIT_K(planes_bytes, scale_bytes, min_bytes) \
	.scale_at = planes_bytes, .min_at = planes_bytes + scale_bytes, \
	.d_at = planes_bytes + scale_bytes + min_bytes

// unit_of folds to constants where type is one.
static inline __attribute__((always_inline)) unit_layout unit_of(int type) {
	switch (type) {
	case T_Q4_0:
		return (unit_layout){.k = 32, .group = 32, .file_bytes = 18, .nibble = 1, .zero = 8, .d_at = 256, .bytes = 288};
	case T_IQ4_NL:
		return (unit_layout){.k = 32, .group = 32, .file_bytes = 18, .nibble = 1, .d_at = 256, .bytes = 288};
	case T_Q4_1:
		return (unit_layout){.k = 32, .group = 32, .file_bytes = 20, .nibble = 1, .d_at = 256, .m_at = 288, .bytes = 320};
	case T_Q5_0:
		return (unit_layout){.k = 32, .group = 32, .file_bytes = 22, .nibble = 1, .bit = 1, .zero = 16, .bit_at = 256, .d_at = 320, .bytes = 352};
	case T_Q5_1:
		return (unit_layout){.k = 32, .group = 32, .file_bytes = 24, .nibble = 1, .bit = 1, .bit_at = 256, .d_at = 320, .m_at = 352, .bytes = 384};
	case T_Q8_0:
		return (unit_layout){.k = 32, .group = 32, .file_bytes = 34, .wide = 1, .d_at = 512, .bytes = 544};
	case T_Q2_K: // scale and minimum share a byte
		return (unit_layout){.k = 256, .group = 16, .file_bytes = 84, .crumb = 1, .sub = 1, UNIT_K(1024, 256, 0), .m_at = 1312, .bytes = 1344};
	case T_Q3_K:
		return (unit_layout){.k = 256, .group = 16, .file_bytes = 110, .crumb = 1, .bit = 1, .sub = 1, .zero = 4, .bit_at = 1024, UNIT_K(1536, 256, 0), .bytes = 1824};
	case T_Q4_K:
		return (unit_layout){.k = 256, .group = 32, .file_bytes = 144, .nibble = 1, .sub = 1, .submin = 1, UNIT_K(2048, 128, 128), .m_at = 2336, .bytes = 2368};
	case T_Q5_K:
		return (unit_layout){.k = 256, .group = 32, .file_bytes = 176, .nibble = 1, .bit = 1, .sub = 1, .submin = 1, .bit_at = 2048, UNIT_K(2560, 128, 128), .m_at = 2848, .bytes = 2880};
	case T_Q6_K:
		return (unit_layout){.k = 256, .group = 16, .file_bytes = 210, .nibble = 1, .crumb = 1, .sub = 1, .zero = 32, .crumb_at = 2048, UNIT_K(3072, 256, 0), .bytes = 3360};
	case T_IQ4_XS:
		return (unit_layout){.k = 256, .group = 32, .file_bytes = 136, .nibble = 1, .sub = 1, UNIT_K(2048, 128, 0), .bytes = 2208};
	}
	return (unit_layout){.k = 0};
}

#endif
