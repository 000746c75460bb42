package ipc

import (
	"encoding/json"
	"net/http"
	"strconv"
	"unicode/utf8"

	"edged/ipc/api"
)

func (s *Server) handleTokenize(w *response, r *http.Request) error {
	j, release, err := decode(s, w, r, decodeTokenize)
	if err != nil {
		return err
	}
	defer release()
	if j.req.Model, err = s.resolveModel(r.Context(), j.req.Model); err != nil {
		return err
	}
	tokens, err := s.engine.Tokenize(r.Context(), j.req)
	if err != nil {
		return err
	}
	list, err := tokenList(tokens, j.withPieces)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.TokenizeResponse{Tokens: list})
}

// tokenList writes the array directly: a text may have millions of tokens.
func tokenList(tokens []Token, withPieces bool) (json.RawMessage, error) {
	list := []byte{'['}
	for i, t := range tokens {
		if i > 0 {
			list = append(list, ',')
		}
		if !withPieces {
			list = strconv.AppendInt(list, int64(t.ID), 10)
			continue
		}
		piece, err := tokenPiece(t)
		if err != nil {
			return nil, err
		}
		list = append(list, piece...)
	}
	return append(list, ']'), nil
}

func (s *Server) handleDetokenize(w *response, r *http.Request) error {
	j, release, err := decode(s, w, r, decodeDetokenize)
	if err != nil {
		return err
	}
	defer release()
	if j.model, err = s.resolveModel(r.Context(), j.model); err != nil {
		return err
	}
	text, err := s.engine.Detokenize(r.Context(), j.model, j.ids)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.DetokenizeResponse{Content: text})
}

func tokenPiece(t Token) (json.RawMessage, error) {
	var piece any = byteValues(t.Piece)
	if utf8.Valid(t.Piece) {
		piece = string(t.Piece)
	}
	raw, err := marshal(piece)
	if err != nil {
		return nil, err
	}
	return marshal(api.TokenPiece{ID: t.ID, Piece: raw})
}
