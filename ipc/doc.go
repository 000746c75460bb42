// Package ipc serves an OpenAI-compatible HTTP API over a Unix socket.
//
// A [Server] turns HTTP requests into [Request] values for an [Engine], which
// the daemon provides, and turns its [Delta] values into server-sent events or
// one JSON response. The wire format is in ipc/api and docs/API.md.
//
// # Ownership
//
// The server owns the listeners given to [Server.Serve] and closes them in
// [Server.Shutdown]. A listener made by [Listen] removes its socket file when it
// is closed, if the file is still its own; an inherited listener leaves it alone.
//
// # Goroutines
//
// A Server is safe for concurrent use. Each connection has a goroutine, and each
// streamed answer one more, in which Engine.Generate runs. Neither waits for a
// client that does not read: answers are queued up to a limit, then cancelled.
//
// # Failure modes
//
// Every refused request gets a JSON error in OpenAI's shape that names the field
// and the value; a failure after the first byte of a stream is sent as an error
// event. A panic ends its request with an internal error and is logged; the
// server goes on. Only what net/http itself refuses (a malformed request line or
// header) is answered as plain text.
package ipc
