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
	BLOCK_TOK = 256, // tokens of a block of records (offload.BlockTok)
	COLD_TOK = 16, // of a cold page (offload.ColdTok)
	BLOCK_PAGES = BLOCK_TOK / PAGE_TOK,
	BLOCK_COLD = BLOCK_TOK / COLD_TOK,
	V_GROUP = 64, // channels of a value that share a step (offload.VGroup)
	INDEX_SKIP = 4, // tokens that index statistics leave out (offload.IndexSkip)
	INDEX_UNITS = 16, // of an index's deviation (offload.IndexUnits)
	CODE_BITS = 2, CODE_TOP = 3, // of an index's codes (offload.IndexTop)
	MAX_INDEX_DIM = 256, // offload.MaxIndexDim
	MAX_QUADS = 6 * MAX_INDEX_DIM / 64, // fours of channels with codes
	MAX_RUN = 64, // codes that are packed together (offload.RunCodes)
	SPAN = 256,    // tokens whose softmax is computed at once; spans merge in order
	MAX_GROUP = 12, // activation rows that one pass over a weight panel serves
	MAX_QUERY = 12, // query vectors that one pass over a KV span serves
	SPLIT_ROWS = 8, // steps of at most so many rows share one row's spans between threads
};

// Classes of layers (offload.Class).
enum { EXACT, WINDOW, DENSE, PAGED, GATHERED };

// What a thread counts (offload.Traffic).
enum { T_PAGES, T_CHOSEN, T_HITS, T_FETCHED, T_STREAMED, T_COLD, N_TRAFFIC };

// What a thread's time is noted of: choosing what to attend to and keeping what
// can be chosen, and attention.
enum { SPENT_CHOICE, SPENT_ATTENTION, N_SPENT = 8 }; // a line for each thread

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
// s at 3*r*k/32 as [k/32][3][w].
typedef struct {
	int16_t *q;
	float *d; // scale: input = q * d
	float *s; // d times the sums of 32 q, of their first 16 and of their last 16
} quant;

// buffer is a float matrix [rows, width] whose rows are ld floats apart.
typedef struct {
	float *p;
	int32_t width, ld;
	int32_t out; // rows are the step's output rows
	int32_t quantized;
	quant q;
} buffer;

// record is the stored form of tokens of one KV head (offload.Record).
typedef struct {
	int32_t k_bits, v_bits; // of a code; 16 where values are kept as they are
	int32_t group;          // tokens
	int32_t k_channels;     // in one run of K
	int32_t k_steps, k, k_row, v_scales, v_steps, v, v_row, v_groups, k_rows, bytes;
} record;

// index_layout is the index of one block of one KV head (offload.Index).
typedef struct {
	int32_t vectors, padded, ranks, refs, steps, means, scales, codes, bytes;
	int32_t values, value_step; // 0 without an estimate
} index_layout;

// cache is the memory of one layer (offload.Memory).
typedef struct {
	int32_t class, kv_heads, dim, window;
	int32_t f32; // exact pages hold float32
	int64_t page_bytes, head_bytes; // of exact pages
	uint8_t *units; // pages or blocks
	int64_t unit_bytes;
	int32_t ring; // pages of a tail
	int32_t budget, exchange;
	float gain;
	int32_t by_record;
	int32_t channels, sink; // offload.LayerPlan
	record rec;
	index_layout ix;
	const float *query_scale; // [kv_heads, dim], by which the index orders channels (graph.QueryScales)
	uint8_t *index;
} cache;

// view is one sequence in one layer.
typedef struct {
	const uint32_t *table; // unit ids
	uint8_t *tail;         // ring of exact pages
	uint8_t *stage;        // exact pages of the prompt being read; null in decode steps
	int32_t stage_page;    // number of the stage's first page
	int32_t stored;        // tokens in records
	int32_t flush_from, flush_to; // tokens to be written as records now
	uint32_t *chosen;      // [kv_heads] lists of chosen_len
	int32_t chosen_len;
	uint8_t *sets;         // [kv_heads][budget] records of working sets (offload/set.go)
	uint8_t *work;         // what gather.h says
	float *peaks;          // [kv_heads, dim] largest |K| so far
} view;

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
	OP_FLUSH,    // tokens that leave the exact tail to records
	OP_APPEND,   // src, src2 to the cache
	OP_SCAN,     // scores of src's queries over a layer's index, by which working sets are renewed; or over critical channels
	OP_GATHER,   // the tokens to attend to, brought to the fast tier
	OP_ATTEND,   // attention of src over the cache, partial or whole
	OP_MERGE,    // dst = merged partial attention
	OP_LINEAR,   // dst = src w^T
	OP_GATED,    // dst = act(src w^T) * (src w2^T)
} op_kind;

typedef struct {
	int32_t kind;
	int32_t barrier; // all threads wait for each other after the op
	int32_t add;     // OP_LINEAR adds to dst
	int32_t decode;  // serves the choice of decode steps alone
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
	int64_t number;          // of the step, counted from 1
	int32_t rows, outs, seqs;
	int32_t decode;          // no prompt is being read
	const int32_t *pos;      // [rows]
	const int32_t *seq;      // [rows]
	const int32_t *out;      // [outs]
	const int32_t *seq_row;  // [seqs+1] first row of each sequence
	view *views;             // [seqs][layers]
} step;

typedef struct pool pool;

// later is how far a thread has asked for the weights that its next products read.
typedef struct {
	const uint8_t *at, *end; // of its range of a matrix
	int64_t left;            // bytes that it may yet ask for
	int32_t op;              // whose matrix it is
	int32_t two;             // the op has a second one
	int32_t thread, unused[7]; // fill a line, which no other thread writes
} later;

// exec is one compiled program.
typedef struct {
	op *ops;
	int32_t layers;
	int32_t op_counters; // a thread's, one for each op, in whole lines that no other thread's share
	int32_t first, end; // ops to run
	int32_t flushing;   // OP_FLUSH has something to do
	step st;
	pool *pool;
	int32_t threads;
	int32_t max_spans;        // per row in partial
	float *partial;           // [SPLIT_ROWS, heads, max_spans+1, dim+2]
	int32_t max_pages;        // per row in page_max
	float *page_max;          // [max_seqs, heads, max_pages] largest score of a cold page's tokens
	float *page_mean;         // [max_seqs, heads, max_pages] score of the mean key around it; with an estimate
	int32_t *scanned;         // [max_seqs, max_kv_heads] runs of a KV head that are scored
	int64_t *renewed;         // [max_seqs, max_kv_heads] for which layer of which step a working set is
	int32_t max_chosen;       // per KV head in picked
	const uint8_t **picked;   // [max_seqs, kv_heads, max_chosen] where chosen records lie
	const float **known;      // the same, where their scores lie; null for those that the step brought
	int32_t max_held;         // per KV head in held
	float *held;              // [max_seqs, max_kv_heads, max_held] scores [places of a set, query heads, COLD_TOK]
	int32_t max_tokens;       // per KV head in token_score
	float *token_score;       // [max_seqs, max_kv_heads, max_tokens]
	int32_t max_kv_heads;
	int64_t *traffic;         // [threads, N_TRAFFIC] since the step began
	int64_t *spent;           // [threads, N_SPENT] nanoseconds since the program was compiled
	uint8_t **scratch;        // [threads], scratch_bytes each
	later *later;             // [threads]
	int64_t later_bytes;      // that a thread may ask for in a layer
	int32_t cancel;           // set by Go from another thread; atomic on both sides
	int32_t stopped;          // decided at a barrier, so that all threads agree
	int32_t *next;            // [threads, op_counters] next unclaimed piece of each op, at thread 0; of products, in each thread's range
} exec;

// run_fn executes all ops as one of the threads.
typedef void (*run_fn)(exec *e, int32_t thread);

run_fn edged_run_for(int32_t isa);
int32_t edged_best_isa(void);
const char *edged_isa_name(int32_t isa);
int64_t edged_scratch_bytes(int32_t max_k, int32_t dim, int32_t pages, int32_t chosen);

pool *edged_pool_new(int32_t threads);
void edged_pool_free(pool *p);
int32_t edged_pool_run(pool *p, run_fn f, exec *e);
void edged_pool_barrier(pool *p, exec *e);
void edged_pool_await(const int64_t *at, int64_t value);
int64_t edged_now(void);

int64_t edged_tile_bytes(int32_t type, int32_t k);
int32_t edged_pack(int32_t type, const uint8_t *src, int64_t row_bytes, int32_t n, int32_t k, int32_t tile0, int32_t tile1, uint8_t *dst);

uint64_t edged_read(const uint8_t *mem, int64_t bytes);

#endif
