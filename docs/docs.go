// Package docs holds the documents that the program carries with it. It has no
// code and cannot fail.
package docs

import _ "embed"

// Config is docs/CONFIG.md.
//
//go:embed CONFIG.md
var Config []byte
