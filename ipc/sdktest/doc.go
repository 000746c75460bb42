// Package sdktest runs the official OpenAI SDKs for Go, Python and Node, and
// Anthropic's for Python, unmodified, over the daemon's Unix socket.
//
// The tests serve a scripted engine. With EDGED_SOCKET and EDGED_MODEL set they
// use that daemon and model instead. The Python and Node programs run when
// EDGED_SDK_TESTS=1 is set; setup.sh installs the SDKs into a directory that
// EDGED_SDK_DIR names. The package holds no code besides tests, keeps no state,
// and fails only as tests do.
package sdktest
