package webui

import (
	"embed"
	"net/http"
	"path"
)

//go:embed page
var files embed.FS

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// servePage serves a file of the page. None of them is secret.
func servePage(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if name == "" {
		name = "index.html"
	}
	body, err := files.ReadFile("page/" + name)
	if err != nil {
		refuse(w, http.StatusNotFound, "the page has no file "+name)
		return
	}
	w.Header().Set("Content-Type", contentTypes[path.Ext(name)])
	w.Write(body)
}
