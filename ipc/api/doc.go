// Package api holds the JSON types that ipc and ipc/client exchange.
//
// Requests are what our client sends; the server reads bodies field by field,
// because OpenAI clients send more than these types hold. Responses are
// complete: field order and presence are part of the format, fixed by ipc's
// golden tests. The types hold no references to shared state.
package api
