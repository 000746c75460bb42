// Types shared by Go and the compiled step. Everything these structs point to
// lies outside the Go heap.
#ifndef EDGED_CPU_H
#define EDGED_CPU_H

#include <stdint.h>

// Equal bits for equal rows rest on GCC's ISO mode, which fuses no sums, and on
// its target pragmas. Another compiler would build something subtly different.
#if !defined(__GNUC__) || defined(__clang__)
#error "infer/cpu is compiled with GCC"
#endif

enum {
	TILE = 16,     // output rows that are computed side by side in vector lanes
	BLOCK = 32,    // inputs that share one activation scale
	PAGE_TOK = 32, // tokens of a KV page (offload.PageTok)
	SPAN = 256,    // tokens whose softmax is computed at once; spans merge in order
	MAX_GROUP = 12, // activation rows that one pass over a weight panel serves
	MAX_QUERY = 12, // query vectors that one pass over a KV span serves
	SPLIT_ROWS = 8, // steps of at most so many rows share one row's spans between threads
};

// Weight encodings, in ggml's numbering.
enum {
	T_F32 = 0, T_F16 = 1, T_Q4_0 = 2, T_Q4_1 = 3, T_Q5_0 = 6, T_Q5_1 = 7, T_Q8_0 = 8,
	T_Q2_K = 10, T_Q3_K = 11, T_Q4_K = 12, T_Q5_K = 13, T_Q6_K = 14, T_IQ4_NL = 20,
	T_IQ4_XS = 23, T_BF16 = 30,
};

// pair is two neighbouring int16 activations, read as one.
typedef int32_t __attribute__((may_alias)) pair;

// weight is a matrix [n, k] repacked into tiles of 16 rows; see pack.c.
typedef struct {
	int32_t type, n, k, tiles;
	int64_t tile_bytes;
	const uint8_t *data;
	const float *bias; // [n] padded to whole tiles, or null
} weight;

// quant holds activations [rows, k] as int16 with one scale for 32 inputs.
// Rows are interleaved in groups of 12, then 8, 4, 2, 1: a group of w rows that
// starts at row r has its q at r*k as [k/2][w][2], d at r*k/32 as [k/32][w] and
// s at r*k/16 as [k/16][w].
typedef struct {
	int16_t *q;
	float *d; // scale: input = q * d
	float *s; // sum of 16 q, exact
} quant;

// buffer is a float matrix [rows, width] whose rows are ld floats apart.
typedef struct {
	float *p;
	int32_t width, ld;
	int32_t out; // rows are the step's output rows
	int32_t quantized;
	quant q;
} buffer;

// cache describes the KV pages of one layer (offload.Layout).
typedef struct {
	uint8_t *base;
	int64_t page_bytes, head_bytes;
	int32_t kv_heads, dim, window, f32;
} cache;

// rope_table holds cos and sin of the step's rows, [rows, pairs] each.
typedef struct {
	const double *freq; // [pairs]
	float *cos, *sin;
	int32_t pairs, interleaved;
	float scale;
} rope_table;

typedef enum {
	OP_ANGLES,   // rope: fill a rope table for the step's positions
	OP_NORM,     // dst = rmsnorm(src) * w
	OP_ADDNORM,  // dst += rmsnorm(src) * w
	OP_HEADNORM, // dst = rmsnorm of each head * w
	OP_ROPE,     // dst rotated
	OP_QUANT,    // dst.q = dst
	OP_SELECT,   // dst = wanted rows of src
	OP_APPEND,   // src, src2 to the cache
	OP_ATTEND,   // attention of src over the cache, partial or whole
	OP_MERGE,    // dst = merged partial attention
	OP_LINEAR,   // dst = src w^T
	OP_GATED,    // dst = act(src w^T) * (src w2^T)
} op_kind;

typedef struct {
	int32_t kind;
	int32_t barrier; // all threads wait for each other after the op
	int32_t add;     // OP_LINEAR adds to dst
	int32_t gelu;    // OP_GATED uses GELU, else SiLU
	int32_t heads, dim;
	float scale, eps;
	buffer *dst, *src, *src2;
	const weight *w, *w2;
	const float *vec; // norm weight
	rope_table *rope;
	cache *kv;
	int32_t layer;
} op;

// step is what changes from step to step.
typedef struct {
	int32_t rows, outs, seqs;
	const int32_t *pos;      // [rows]
	const int32_t *seq;      // [rows]
	const int32_t *out;      // [outs]
	const int32_t *seq_row;  // [seqs+1] first row of each sequence
	const uint32_t **tables; // [seqs][layers] page tables
} step;

typedef struct pool pool;

// exec is one compiled program.
typedef struct {
	op *ops;
	int32_t n_ops, layers;
	step st;
	pool *pool;
	int32_t threads;
	int32_t max_spans;        // per row in partial
	float *partial;           // [SPLIT_ROWS, heads, max_spans, dim+2]
	uint8_t **scratch;        // [threads], scratch_bytes each
	int32_t cancel;           // set by Go from another thread; atomic on both sides
	int32_t stopped;          // decided at a barrier, so that all threads agree
	int32_t *next;            // [n_ops] next unclaimed piece of each op
} exec;

// run_fn executes all ops as one of the threads.
typedef void (*run_fn)(exec *e, int32_t thread);

run_fn edged_run_for(int32_t isa);
int32_t edged_best_isa(void);
const char *edged_isa_name(int32_t isa);
int64_t edged_scratch_bytes(int32_t max_k, int32_t dim);

pool *edged_pool_new(int32_t threads);
void edged_pool_free(pool *p);
int32_t edged_pool_run(pool *p, run_fn f, exec *e);
void edged_pool_barrier(pool *p, exec *e);

int64_t edged_tile_bytes(int32_t type, int32_t k);
int32_t edged_pack(int32_t type, const uint8_t *src, int64_t row_bytes, int32_t n, int32_t k, int32_t tile0, int32_t tile1, uint8_t *dst);

uint64_t edged_read(const uint8_t *mem, int64_t bytes);

#endif
