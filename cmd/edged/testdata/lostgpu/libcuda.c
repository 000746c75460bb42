// Stands before the real driver, libcuda.so.1, and passes every call on. Once the
// file that EDGED_TEST_FAULT names is there, the next kernel gets an address that is
// nobody's in place of its first: the device then answers no more, as after a bug.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASSED_ON(X) \
	X(cuCtxSetCurrent) \
	X(cuDeviceGet) \
	X(cuDeviceGetAttribute) \
	X(cuDeviceGetCount) \
	X(cuDeviceGetName) \
	X(cuDeviceGetPCIBusId) \
	X(cuDevicePrimaryCtxRelease_v2) \
	X(cuDevicePrimaryCtxRetain) \
	X(cuDeviceTotalMem_v2) \
	X(cuDriverGetVersion) \
	X(cuEventCreate) \
	X(cuEventDestroy_v2) \
	X(cuEventElapsedTime) \
	X(cuEventRecord) \
	X(cuEventSynchronize) \
	X(cuFuncGetAttribute) \
	X(cuFuncSetAttribute) \
	X(cuGetErrorName) \
	X(cuGetErrorString) \
	X(cuGraphDestroy) \
	X(cuGraphExecDestroy) \
	X(cuGraphInstantiateWithFlags) \
	X(cuGraphLaunch) \
	X(cuInit) \
	X(cuMemAdvise) \
	X(cuMemAllocManaged) \
	X(cuMemAlloc_v2) \
	X(cuMemFreeHost) \
	X(cuMemFree_v2) \
	X(cuMemGetInfo_v2) \
	X(cuMemHostAlloc) \
	X(cuMemHostGetDevicePointer_v2) \
	X(cuMemHostRegister_v2) \
	X(cuMemHostUnregister) \
	X(cuMemcpyDtoDAsync_v2) \
	X(cuMemcpyDtoHAsync_v2) \
	X(cuMemcpyHtoDAsync_v2) \
	X(cuMemsetD8Async) \
	X(cuMemsetD8_v2) \
	X(cuModuleGetFunction) \
	X(cuModuleLoadDataEx) \
	X(cuModuleUnload) \
	X(cuStreamBeginCapture_v2) \
	X(cuStreamCreate) \
	X(cuStreamDestroy_v2) \
	X(cuStreamEndCapture) \
	X(cuStreamSynchronize) \
	X(cuStreamWaitEvent)

// A call goes through the pointer that `open` has filled in.
#define FORWARD(name) \
	__attribute__((visibility("hidden"))) void *real_##name; \
	__asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n\tjmp *real_" #name "(%rip)\n");
PASSED_ON(FORWARD)

static int (*launch)(const void *, void *, void **, void **);

__attribute__((constructor)) static void open_real(void) {
	const char *path = getenv("EDGED_TEST_CUDA");
	void *lib = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	if (!lib) {
		fprintf(stderr, "the real driver, %s: %s\n", path ? path : "EDGED_TEST_CUDA", dlerror());
		exit(99);
	}
#define FIND(name) real_##name = dlsym(lib, #name);
	PASSED_ON(FIND)
	*(void **)&launch = dlsym(lib, "cuLaunchKernelEx");
}

int cuLaunchKernelEx(const void *config, void *function, void **params, void **extra) {
	const char *fault = getenv("EDGED_TEST_FAULT");
	if (fault && access(fault, F_OK) == 0 && extra) {
		static unsigned long long args[512];
		size_t bytes = *(size_t *)extra[3];
		if (bytes <= sizeof args) {
			memcpy(args, extra[1], bytes);
			args[0] = 1ull << 46;
			void *bad[] = {extra[0], args, extra[2], extra[3], extra[4]};
			return launch(config, function, NULL, bad);
		}
	}
	return launch(config, function, params, extra);
}
