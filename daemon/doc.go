// Package daemon is the composition root of edged: it reads the configuration,
// builds the engine and the server, and runs them as a well-behaved service.
//
// # Ownership
//
// [Run] owns everything that it starts: the listeners, the server, the engine,
// the configuration watcher and the link to the service manager. It closes them
// in the reverse order before it returns. A [Config] is a plain value; nobody
// changes one that has been handed on.
//
// # Goroutines
//
// Run may be called once per process, because the memory limit, the signals and
// the service manager's socket are the process's. The other functions may be
// called from any goroutine.
//
// # Failure modes
//
// A configuration error names the file, the line, the key, its limits and the
// value. At start it is returned; at reload it is logged and the running
// configuration stays. A model that cannot be loaded ends Run with an error: a
// daemon that will never be ready does not linger. Health is true: /readyz
// answers 200 only after the configured backend has decoded a token.
package daemon
