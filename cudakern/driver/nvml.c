#include "nvml.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef int result;
typedef void *handle;

typedef struct {
	unsigned long long total, free, used;
} memory;

// nvmlPciInfo_t of version 3.
typedef struct {
	char legacy[16];
	unsigned domain, bus, device, ids, subsystem;
	char id[32];
} pci_info;

enum { ERROR_TOO_SMALL = 7 }; // NVML_ERROR_INSUFFICIENT_SIZE: the count is there all the same

#define SYMBOLS(X) \
	X(result, nvmlInit_v2, (void)) \
	X(const char *, nvmlErrorString, (result)) \
	X(result, nvmlSystemGetDriverVersion, (char *, unsigned)) \
	X(result, nvmlDeviceGetCount_v2, (unsigned *)) \
	X(result, nvmlDeviceGetHandleByIndex_v2, (unsigned, handle *)) \
	X(result, nvmlDeviceGetName, (handle, char *, unsigned)) \
	X(result, nvmlDeviceGetMemoryInfo, (handle, memory *)) \
	X(result, nvmlDeviceGetPciInfo_v3, (handle, pci_info *)) \
	X(result, nvmlDeviceGetCudaComputeCapability, (handle, int *, int *)) \
	X(result, nvmlDeviceGetCurrPcieLinkGeneration, (handle, unsigned *)) \
	X(result, nvmlDeviceGetMaxPcieLinkGeneration, (handle, unsigned *)) \
	X(result, nvmlDeviceGetCurrPcieLinkWidth, (handle, unsigned *)) \
	X(result, nvmlDeviceGetMaxPcieLinkWidth, (handle, unsigned *)) \
	X(result, nvmlDeviceGetDisplayActive, (handle, unsigned *)) \
	X(result, nvmlDeviceGetGraphicsRunningProcesses_v3, (handle, unsigned *, void *))

#define DECLARE(ret, name, params) static ret(*name) params;
SYMBOLS(DECLARE)

static int ready;

// A caller holds a lock: the table is written once.
int edged_nvml_open(char *err, int len) {
	if (ready)
		return 0;
	void *lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		snprintf(err, len, "%s", dlerror());
		return -1;
	}
#define LOAD(ret, name, params) \
	if (!(*(void **)&name = dlsym(lib, #name))) { \
		snprintf(err, len, "libnvidia-ml.so.1 has no %s: the driver is too old", #name); \
		dlclose(lib); \
		return -2; \
	}
	SYMBOLS(LOAD)
	result r = nvmlInit_v2();
	if (r != 0) {
		snprintf(err, len, "nvmlInit_v2: %s", nvmlErrorString(r));
		dlclose(lib);
		return -3;
	}
	ready = 1;
	return 0;
}

const char *edged_nvml_error(int code) { return nvmlErrorString(code); }

int edged_nvml_driver_version(char *text, int len) { return nvmlSystemGetDriverVersion(text, len); }

int edged_nvml_count(unsigned *n) { return nvmlDeviceGetCount_v2(n); }

int edged_nvml_bus_id(unsigned index, char *text, int len) {
	handle h;
	pci_info p;
	result r = nvmlDeviceGetHandleByIndex_v2(index, &h);
	if (r == 0)
		r = nvmlDeviceGetPciInfo_v3(h, &p);
	if (r == 0)
		snprintf(text, len, "%s", p.id);
	return r;
}

static int number(result (*get)(handle, unsigned *), handle h) {
	unsigned v = 0;
	return get(h, &v) == 0 ? (int)v : -1;
}

int edged_nvml_device(unsigned index, nvml_device *d) {
	handle h;
	memory m;
	unsigned graphics = 0;
	result r = nvmlDeviceGetHandleByIndex_v2(index, &h);
	if (r == 0)
		r = nvmlDeviceGetName(h, d->name, sizeof d->name);
	if (r == 0)
		r = nvmlDeviceGetMemoryInfo(h, &m);
	if (r == 0)
		r = nvmlDeviceGetCudaComputeCapability(h, &d->major, &d->minor);
	if (r != 0)
		return r;
	d->total = m.total;
	d->free = m.free;
	d->used = m.used;
	d->link_generation = number(nvmlDeviceGetCurrPcieLinkGeneration, h);
	d->link_max_generation = number(nvmlDeviceGetMaxPcieLinkGeneration, h);
	d->link_width = number(nvmlDeviceGetCurrPcieLinkWidth, h);
	d->link_max_width = number(nvmlDeviceGetMaxPcieLinkWidth, h);
	d->display = number(nvmlDeviceGetDisplayActive, h);
	r = nvmlDeviceGetGraphicsRunningProcesses_v3(h, &graphics, NULL);
	d->graphics = r == 0 || r == ERROR_TOO_SMALL ? (int)graphics : -1;
	return 0;
}
