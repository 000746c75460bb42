// The part of the CUDA driver's interface that edged uses, declared here so
// that the build needs no CUDA headers and the program no driver to start.
#ifndef EDGED_CUDA_SHIM_H
#define EDGED_CUDA_SHIM_H

#include <stdint.h>

// What a command of a list does.
enum { CMD_LAUNCH, CMD_COPY_TO, CMD_COPY_FROM, CMD_COPY, CMD_FILL, CMD_RECORD, CMD_WAIT, CMD_GRAPH, CMD_CLOCK };

// command is one entry of a list. Handles and addresses are 64-bit numbers.
typedef struct {
	uint32_t kind;
	uint32_t flags;     // CMD_LAUNCH: OVERLAP
	uint64_t stream;
	uint64_t object;    // function, event or graph
	uint64_t dst, src;  // device or pinned host addresses
	uint64_t bytes;     // of copies and fills; of arguments
	uint64_t args;      // CMD_LAUNCH: offset into the list's argument bytes
	uint32_t grid[3], block[3];
	uint32_t shared;    // dynamic shared memory, bytes
	uint32_t value;     // CMD_FILL: byte
} command;

// OVERLAP lets a launch begin before the one in front of it has ended; the
// kernel waits by itself where it reads what that one wrote.
enum { OVERLAP = 1 };

// edged_cuda_open loads the driver. It returns 0, or a negative number with
// what is missing in err.
int edged_cuda_open(char *err, int len);

const char *edged_cuda_error_name(int code);
const char *edged_cuda_error_text(int code);

int edged_cuda_version(int *v);
int edged_cuda_device_count(int *n);
int edged_cuda_device(int ordinal, int *dev, char *name, int len, uint64_t *bytes);
int edged_cuda_bus_id(int dev, char *id, int len);
int edged_cuda_attribute(int dev, int which, int *v);
int edged_cuda_retain(int dev, uint64_t *ctx);
int edged_cuda_release(int dev);

// All that follow make ctx the calling thread's context first.
int edged_cuda_mem_info(uint64_t ctx, uint64_t *free_bytes, uint64_t *total);
int edged_cuda_alloc(uint64_t ctx, uint64_t bytes, uint64_t *p);
int edged_cuda_free(uint64_t ctx, uint64_t p);
int edged_cuda_alloc_managed(uint64_t ctx, int dev, uint64_t bytes, uint64_t *p);
int edged_cuda_alloc_host(uint64_t ctx, uint64_t bytes, uint64_t *p);
int edged_cuda_free_host(uint64_t ctx, uint64_t p);
int edged_cuda_register(uint64_t ctx, uint64_t p, uint64_t bytes, uint64_t *dev);
int edged_cuda_unregister(uint64_t ctx, uint64_t p);
int edged_cuda_load_module(uint64_t ctx, const void *image, uint64_t *mod, char *log, int len);
int edged_cuda_unload_module(uint64_t ctx, uint64_t mod);
int edged_cuda_function(uint64_t ctx, uint64_t mod, const char *name, uint64_t *fn);
int edged_cuda_function_attribute(uint64_t ctx, uint64_t fn, int which, int *v);
int edged_cuda_allow_shared(uint64_t ctx, uint64_t fn, int bytes);
int edged_cuda_stream(uint64_t ctx, uint64_t *s);
int edged_cuda_free_stream(uint64_t ctx, uint64_t s);
int edged_cuda_wait_stream(uint64_t ctx, uint64_t s);
int edged_cuda_event(uint64_t ctx, int timing, uint64_t *e);
int edged_cuda_free_event(uint64_t ctx, uint64_t e);
int edged_cuda_wait_event(uint64_t ctx, uint64_t e);
int edged_cuda_elapsed(uint64_t ctx, uint64_t from, uint64_t to, float *ms);
int edged_cuda_free_graph(uint64_t ctx, uint64_t g);

// edged_cuda_submit runs commands in order until one fails, whose index it
// leaves in failed.
int edged_cuda_submit(uint64_t ctx, const command *c, int n, const uint8_t *args, int *failed);
// edged_cuda_capture makes a graph of commands, all of the first one's stream.
int edged_cuda_capture(uint64_t ctx, const command *c, int n, const uint8_t *args, uint64_t *graph, int *failed);

#endif
