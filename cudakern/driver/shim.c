#include "shim.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef int result;
typedef uint64_t address;

typedef struct {
	unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared;
	void *stream;
	void *attrs;
	unsigned n_attrs;
} launch_config;

typedef struct {
	int id;
	char pad[4];
	union {
		char space[64];
		int programmatic;
	} value;
} launch_attribute;

enum {
	ATTR_PROGRAMMATIC = 6,      // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
	HOST_PORTABLE_MAPPED = 3,   // CU_MEMHOSTALLOC_PORTABLE | DEVICEMAP, also of registering
	MANAGED_GLOBAL = 1,         // CU_MEM_ATTACH_GLOBAL
	PREFER_LOCATION = 3,        // CU_MEM_ADVISE_SET_PREFERRED_LOCATION
	MAX_DYNAMIC_SHARED = 8,     // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
	STREAM_NON_BLOCKING = 1,
	EVENT_NO_TIMING = 2,
	CAPTURE_THREAD_LOCAL = 1,
	RECORD_EXTERNAL = 1,
	JIT_ERROR_LOG = 5,          // CU_JIT_ERROR_LOG_BUFFER
	JIT_ERROR_LOG_BYTES = 6,
};

#define ARGS_POINTER ((void *)1)
#define ARGS_BYTES ((void *)2)
#define ARGS_END ((void *)0)

#define SYMBOLS(X) \
	X(result, cuInit, (unsigned)) \
	X(result, cuDriverGetVersion, (int *)) \
	X(result, cuGetErrorName, (result, const char **)) \
	X(result, cuGetErrorString, (result, const char **)) \
	X(result, cuDeviceGetCount, (int *)) \
	X(result, cuDeviceGet, (int *, int)) \
	X(result, cuDeviceGetName, (char *, int, int)) \
	X(result, cuDeviceTotalMem_v2, (size_t *, int)) \
	X(result, cuDeviceGetAttribute, (int *, int, int)) \
	X(result, cuDeviceGetPCIBusId, (char *, int, int)) \
	X(result, cuDevicePrimaryCtxRetain, (void **, int)) \
	X(result, cuDevicePrimaryCtxRelease_v2, (int)) \
	X(result, cuCtxSetCurrent, (void *)) \
	X(result, cuMemGetInfo_v2, (size_t *, size_t *)) \
	X(result, cuMemAlloc_v2, (address *, size_t)) \
	X(result, cuMemFree_v2, (address)) \
	X(result, cuMemAllocManaged, (address *, size_t, unsigned)) \
	X(result, cuMemAdvise, (address, size_t, int, int)) \
	X(result, cuMemHostAlloc, (void **, size_t, unsigned)) \
	X(result, cuMemFreeHost, (void *)) \
	X(result, cuMemHostRegister_v2, (void *, size_t, unsigned)) \
	X(result, cuMemHostUnregister, (void *)) \
	X(result, cuMemHostGetDevicePointer_v2, (address *, void *, unsigned)) \
	X(result, cuMemsetD8_v2, (address, unsigned char, size_t)) \
	X(result, cuMemcpyHtoDAsync_v2, (address, const void *, size_t, void *)) \
	X(result, cuMemcpyDtoHAsync_v2, (void *, address, size_t, void *)) \
	X(result, cuMemcpyDtoDAsync_v2, (address, address, size_t, void *)) \
	X(result, cuMemsetD8Async, (address, unsigned char, size_t, void *)) \
	X(result, cuModuleLoadDataEx, (void **, const void *, unsigned, int *, void **)) \
	X(result, cuModuleUnload, (void *)) \
	X(result, cuModuleGetFunction, (void **, void *, const char *)) \
	X(result, cuFuncGetAttribute, (int *, int, void *)) \
	X(result, cuFuncSetAttribute, (void *, int, int)) \
	X(result, cuStreamCreate, (void **, unsigned)) \
	X(result, cuStreamDestroy_v2, (void *)) \
	X(result, cuStreamSynchronize, (void *)) \
	X(result, cuStreamWaitEvent, (void *, void *, unsigned)) \
	X(result, cuStreamBeginCapture_v2, (void *, int)) \
	X(result, cuStreamEndCapture, (void *, void **)) \
	X(result, cuEventCreate, (void **, unsigned)) \
	X(result, cuEventDestroy_v2, (void *)) \
	X(result, cuEventRecord, (void *, void *)) \
	X(result, cuEventRecordWithFlags, (void *, void *, unsigned)) \
	X(result, cuEventSynchronize, (void *)) \
	X(result, cuEventElapsedTime, (float *, void *, void *)) \
	X(result, cuGraphInstantiateWithFlags, (void **, void *, unsigned long long)) \
	X(result, cuGraphDestroy, (void *)) \
	X(result, cuGraphExecDestroy, (void *)) \
	X(result, cuGraphLaunch, (void *, void *)) \
	X(result, cuLaunchKernelEx, (const launch_config *, void *, void **, void **))

#define DECLARE(ret, name, params) static ret(*name) params;
SYMBOLS(DECLARE)

#define HANDLE(x) ((void *)(uintptr_t)(x))
#define TRY(call) do { result r_ = (call); if (r_ != 0) return r_; } while (0)
#define ENTER(ctx) TRY(cuCtxSetCurrent(HANDLE(ctx)))

// A caller holds a lock: the table is written once.
int edged_cuda_open(char *err, int len) {
	if (cuLaunchKernelEx)
		return 0;
	void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		snprintf(err, len, "%s", dlerror());
		return -1;
	}
#define LOAD(ret, name, params) \
	if (!(*(void **)&name = dlsym(lib, #name))) { \
		snprintf(err, len, "the driver has no %s: it is older than CUDA 11.8", #name); \
		cuLaunchKernelEx = NULL; \
		dlclose(lib); \
		return -2; \
	}
	SYMBOLS(LOAD)
	result r = cuInit(0);
	if (r != 0) {
		snprintf(err, len, "cuInit: %s (%s)", edged_cuda_error_name(r), edged_cuda_error_text(r));
		cuLaunchKernelEx = NULL;
		dlclose(lib);
		return -3;
	}
	return 0;
}

const char *edged_cuda_error_name(int code) {
	const char *s = NULL;
	if (cuGetErrorName && cuGetErrorName(code, &s) == 0 && s)
		return s;
	return "unknown error";
}

const char *edged_cuda_error_text(int code) {
	const char *s = NULL;
	if (cuGetErrorString && cuGetErrorString(code, &s) == 0 && s)
		return s;
	return "no description";
}

int edged_cuda_version(int *v) { return cuDriverGetVersion(v); }
int edged_cuda_device_count(int *n) { return cuDeviceGetCount(n); }

int edged_cuda_device(int ordinal, int *dev, char *name, int len, uint64_t *bytes) {
	size_t n;
	TRY(cuDeviceGet(dev, ordinal));
	TRY(cuDeviceGetName(name, len, *dev));
	TRY(cuDeviceTotalMem_v2(&n, *dev));
	*bytes = n;
	return 0;
}

int edged_cuda_bus_id(int dev, char *id, int len) { return cuDeviceGetPCIBusId(id, len, dev); }

int edged_cuda_attribute(int dev, int which, int *v) { return cuDeviceGetAttribute(v, which, dev); }

// A call that makes a handle h, whose number goes to out.
#define MAKE(out, call) \
	do { \
		void *h = NULL; \
		result r_ = (call); \
		*(out) = (uint64_t)(uintptr_t)h; \
		return r_; \
	} while (0)

int edged_cuda_retain(int dev, uint64_t *ctx) {
	MAKE(ctx, cuDevicePrimaryCtxRetain(&h, dev));
}

int edged_cuda_release(int dev) { return cuDevicePrimaryCtxRelease_v2(dev); }

int edged_cuda_mem_info(uint64_t ctx, uint64_t *free_bytes, uint64_t *total) {
	size_t f, t;
	ENTER(ctx);
	TRY(cuMemGetInfo_v2(&f, &t));
	*free_bytes = f;
	*total = t;
	return 0;
}

int edged_cuda_alloc(uint64_t ctx, uint64_t bytes, uint64_t *p) {
	ENTER(ctx);
	return cuMemAlloc_v2(p, bytes);
}

int edged_cuda_free(uint64_t ctx, uint64_t p) {
	ENTER(ctx);
	return cuMemFree_v2(p);
}

// Memory that the processor can reach too but that stays on the device as long
// as it does not; zeroed there.
int edged_cuda_alloc_managed(uint64_t ctx, int dev, uint64_t bytes, uint64_t *p) {
	ENTER(ctx);
	TRY(cuMemAllocManaged(p, bytes, MANAGED_GLOBAL));
	result r = cuMemAdvise(*p, bytes, PREFER_LOCATION, dev);
	if (r == 0)
		r = cuMemsetD8_v2(*p, 0, bytes);
	if (r != 0) {
		cuMemFree_v2(*p);
		*p = 0;
	}
	return r;
}

int edged_cuda_alloc_host(uint64_t ctx, uint64_t bytes, uint64_t *p) {
	ENTER(ctx);
	MAKE(p, cuMemHostAlloc(&h, bytes, HOST_PORTABLE_MAPPED));
}

int edged_cuda_free_host(uint64_t ctx, uint64_t p) {
	ENTER(ctx);
	return cuMemFreeHost(HANDLE(p));
}

int edged_cuda_register(uint64_t ctx, uint64_t p, uint64_t bytes, uint64_t *dev) {
	ENTER(ctx);
	TRY(cuMemHostRegister_v2(HANDLE(p), bytes, HOST_PORTABLE_MAPPED));
	result r = cuMemHostGetDevicePointer_v2(dev, HANDLE(p), 0);
	if (r != 0)
		cuMemHostUnregister(HANDLE(p));
	return r;
}

int edged_cuda_unregister(uint64_t ctx, uint64_t p) {
	ENTER(ctx);
	return cuMemHostUnregister(HANDLE(p));
}

int edged_cuda_load_module(uint64_t ctx, const void *image, uint64_t *mod, char *log, int len) {
	int options[] = {JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES};
	void *values[] = {log, HANDLE(len)};
	ENTER(ctx);
	MAKE(mod, cuModuleLoadDataEx(&h, image, 2, options, values));
}

int edged_cuda_unload_module(uint64_t ctx, uint64_t mod) {
	ENTER(ctx);
	return cuModuleUnload(HANDLE(mod));
}

int edged_cuda_function(uint64_t ctx, uint64_t mod, const char *name, uint64_t *fn) {
	ENTER(ctx);
	MAKE(fn, cuModuleGetFunction(&h, HANDLE(mod), name));
}

int edged_cuda_function_attribute(uint64_t ctx, uint64_t fn, int which, int *v) {
	ENTER(ctx);
	return cuFuncGetAttribute(v, which, HANDLE(fn));
}

int edged_cuda_allow_shared(uint64_t ctx, uint64_t fn, int bytes) {
	ENTER(ctx);
	return cuFuncSetAttribute(HANDLE(fn), MAX_DYNAMIC_SHARED, bytes);
}

int edged_cuda_stream(uint64_t ctx, uint64_t *s) {
	ENTER(ctx);
	MAKE(s, cuStreamCreate(&h, STREAM_NON_BLOCKING));
}

int edged_cuda_free_stream(uint64_t ctx, uint64_t s) {
	ENTER(ctx);
	return cuStreamDestroy_v2(HANDLE(s));
}

int edged_cuda_wait_stream(uint64_t ctx, uint64_t s) {
	ENTER(ctx);
	return cuStreamSynchronize(HANDLE(s));
}

int edged_cuda_event(uint64_t ctx, int timing, uint64_t *e) {
	ENTER(ctx);
	MAKE(e, cuEventCreate(&h, timing ? 0 : EVENT_NO_TIMING));
}

int edged_cuda_free_event(uint64_t ctx, uint64_t e) {
	ENTER(ctx);
	return cuEventDestroy_v2(HANDLE(e));
}

int edged_cuda_wait_event(uint64_t ctx, uint64_t e) {
	ENTER(ctx);
	return cuEventSynchronize(HANDLE(e));
}

int edged_cuda_elapsed(uint64_t ctx, uint64_t from, uint64_t to, float *ms) {
	ENTER(ctx);
	return cuEventElapsedTime(ms, HANDLE(from), HANDLE(to));
}

int edged_cuda_free_graph(uint64_t ctx, uint64_t g) {
	ENTER(ctx);
	return cuGraphExecDestroy(HANDLE(g));
}

static int launch(const command *c, const uint8_t *args) {
	size_t bytes = c->bytes;
	void *extra[] = {ARGS_POINTER, (void *)(args + c->args), ARGS_BYTES, &bytes, ARGS_END};
	launch_attribute a = {.id = ATTR_PROGRAMMATIC, .value = {.programmatic = 1}};
	launch_config cfg = {c->grid[0], c->grid[1], c->grid[2], c->block[0], c->block[1], c->block[2], c->shared,
		HANDLE(c->stream), &a, c->flags & OVERLAP ? 1 : 0};
	return cuLaunchKernelEx(&cfg, HANDLE(c->object), NULL, extra);
}

static int run(const command *c, const uint8_t *args) {
	void *stream = HANDLE(c->stream);
	switch (c->kind) {
	case CMD_LAUNCH:
		return launch(c, args);
	case CMD_COPY_TO:
		return cuMemcpyHtoDAsync_v2(c->dst, HANDLE(c->src), c->bytes, stream);
	case CMD_COPY_FROM:
		return cuMemcpyDtoHAsync_v2(HANDLE(c->dst), c->src, c->bytes, stream);
	case CMD_COPY:
		return cuMemcpyDtoDAsync_v2(c->dst, c->src, c->bytes, stream);
	case CMD_FILL:
		return cuMemsetD8Async(c->dst, (unsigned char)c->value, c->bytes, stream);
	case CMD_CLOCK:
		return cuEventRecordWithFlags(HANDLE(c->object), stream, RECORD_EXTERNAL);
	case CMD_RECORD:
		return cuEventRecord(HANDLE(c->object), stream);
	case CMD_WAIT:
		return cuStreamWaitEvent(stream, HANDLE(c->object), 0);
	default:
		return cuGraphLaunch(HANDLE(c->object), stream);
	}
}

static int run_all(const command *c, int n, const uint8_t *args, int *failed) {
	for (int i = 0; i < n; i++) {
		result r = run(&c[i], args);
		if (r != 0) {
			*failed = i;
			return r;
		}
	}
	return 0;
}

int edged_cuda_submit(uint64_t ctx, const command *c, int n, const uint8_t *args, int *failed) {
	*failed = -1;
	ENTER(ctx);
	return run_all(c, n, args, failed);
}

int edged_cuda_capture(uint64_t ctx, const command *c, int n, const uint8_t *args, uint64_t *graph, int *failed) {
	void *g = NULL, *exec = NULL;
	*failed = -1;
	ENTER(ctx);
	TRY(cuStreamBeginCapture_v2(HANDLE(c->stream), CAPTURE_THREAD_LOCAL));
	result r = run_all(c, n, args, failed);
	result end = cuStreamEndCapture(HANDLE(c->stream), &g);
	if (r == 0)
		r = end;
	if (r == 0)
		r = cuGraphInstantiateWithFlags(&exec, g, 0);
	if (g)
		cuGraphDestroy(g);
	*graph = (uint64_t)(uintptr_t)exec;
	return r;
}
