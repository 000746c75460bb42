// Package kern holds the C of the processor backend: kernels, the walk over a
// program's ops, the pool of threads. It has no Go of its own and imports
// nothing, so that a change elsewhere in the module never compiles it again;
// package cpu includes its header, links it by importing it, and says who owns
// what and what may fail.
package kern

/*
#cgo CFLAGS: -O3 -std=c11 -Wall -Wno-psabi
#cgo LDFLAGS: -lm -lpthread
*/
import "C"
