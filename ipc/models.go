package ipc

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"edged/ipc/api"
)

func (s *Server) handleModels(w *response, r *http.Request) error {
	list := api.ModelList{Object: "list", Data: []api.Model{}}
	for _, m := range s.engine.Models(r.Context()) {
		list.Data = append(list.Data, modelOf(m))
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *Server) handleModel(w *response, r *http.Request) error {
	// Everything after the prefix: ids may contain slashes.
	_, id, _ := strings.Cut(r.URL.Path, "/models/")
	models := s.engine.Models(r.Context())
	for _, m := range models {
		if m.ID == id {
			return writeJSON(w, http.StatusOK, modelOf(m))
		}
	}
	return modelNotFound(id, models)
}

// resolveModel returns the id of the model that a request means. A request
// that names none gets the default, as from llama-server.
func (s *Server) resolveModel(ctx context.Context, name string) (string, error) {
	models := s.engine.Models(ctx)
	if name == "" && len(models) > 0 {
		return models[0].ID, nil
	}
	for _, m := range models {
		if m.ID == name {
			return name, nil
		}
	}
	return "", modelNotFound(name, models)
}

// maxNamed is how many models an error names; GET /v1/models lists all.
const maxNamed = 8

func modelNotFound(id string, models []ModelInfo) *Error {
	var names []string
	for _, m := range models[:min(len(models), maxNamed)] {
		names = append(names, m.ID)
	}
	if more := len(models) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return &Error{Kind: KindModelNotFound, Param: "model",
		Message: fmt.Sprintf("the model %s is not served; GET /v1/models lists what is: %s",
			show(fmt.Appendf(nil, "%q", id)), strings.Join(names, ", "))}
}

func modelOf(m ModelInfo) api.Model {
	return api.Model{
		ID: m.ID, Object: "model", Created: created(m.Created), OwnedBy: m.OwnedBy,
		MaxModelLen: m.ContextTokens, Loaded: m.Loaded,
		Meta: api.ModelMeta{NVocab: m.VocabSize, NCtxTrain: m.TrainContextTokens, NParams: m.Params, Size: m.Bytes},
	}
}

// created is in Unix seconds, 0 where it is not known: the file of a resident model
// may have been removed.
func created(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
