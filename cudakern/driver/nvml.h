// The part of NVML, the driver's library for managing devices, that edged uses,
// declared here so that the build needs no headers and the program no library.
#ifndef EDGED_NVML_H
#define EDGED_NVML_H

#include <stdint.h>

// What NVML knows of a device. Numbers that it would not say are -1.
typedef struct {
	char name[96];
	uint64_t total, free, used; // bytes; all processes
	int link_generation, link_max_generation, link_width, link_max_width; // PCIe
	int display;                // 1 when a screen shows what the device draws
	int graphics;               // processes that draw with it
	int major, minor;           // compute capability
} nvml_device;

// edged_nvml_open loads the library. It returns 0, or a negative number with
// what is missing in err.
int edged_nvml_open(char *err, int len);

const char *edged_nvml_error(int code);
int edged_nvml_driver_version(char *text, int len);
int edged_nvml_count(unsigned *n);
int edged_nvml_bus_id(unsigned index, char *text, int len);
int edged_nvml_device(unsigned index, nvml_device *d);

#endif
