package ipc

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"time"
)

// Limits and parts that tests in package ipc_test need.
const (
	MaxJSONDepth   = maxJSONDepth
	MaxBodyBytes   = maxBodyBytes
	SmallBodyBytes = smallBodyBytes
	MaxLargeBodies = maxLargeBodies
	MaxConns       = maxConns
	MaxUnread      = maxUnread
	MaxSocketPath  = maxSocketPath
	LingerTimeout  = lingerTimeout
	HeaderGrace    = headerGrace
	HeaderTimeout  = headerTimeout
	BodyTimeout    = bodyTimeout
	WriteTimeout   = writeTimeout
	MaxHeaderBytes = maxHeaderBytes
)

var (
	CheckJSON        = checkJSON
	ErrSlowClient    = errSlowClient
	UnsupportedField = unsupportedFields
)

// DecodeChat returns the request of a chat body.
func DecodeChat(body []byte) (*Request, *Error) {
	j, err := decodeChat(body)
	if err != nil {
		return nil, err
	}
	return &j.req, nil
}

// DecodeResponse returns the request of a body of /v1/responses.
func DecodeResponse(body []byte) (*Request, *Error) {
	j, err := decodeResponse(body)
	if err != nil {
		return nil, err
	}
	return &j.req, nil
}

// DecodeAnthropic returns the request of a body of Anthropic's API.
func DecodeAnthropic(body []byte) (*Request, *Error) {
	j, err := decodeAnthropic(body)
	if err != nil {
		return nil, err
	}
	return &j.req, nil
}

// Members returns the fields of a body that has passed CheckJSON.
func Members(body []byte) map[string]json.RawMessage {
	fields, _ := members(bytes.TrimSpace(body))
	return fields
}

// DecodeCompletion returns the request of a completion body.
func DecodeCompletion(body []byte) (*Request, *Error) {
	j, err := decodeCompletion(body)
	if err != nil {
		return nil, err
	}
	return &j.req, nil
}

// DecodeTokens decodes a tokenize and a detokenize body.
func DecodeTokens(body []byte) (a, b *Error) {
	_, a = decodeTokenize(body)
	_, b = decodeDetokenize(body)
	return a, b
}

// DecodeSession decodes a body as that of each route of sessions.
func DecodeSession(body []byte) (n *SessionNew, e *SessionEdit, at int, errs []*Error) {
	n, newErr := decodeSessionNew(body)
	e, editErr := decodeSessionEdit(body)
	f, forkErr := decodeFork(body)
	if f != nil {
		at = f.at
	}
	return n, e, at, []*Error{newErr, editErr, forkErr}
}

// DecodeSessionQuery decodes the query of a list.
var DecodeSessionQuery = decodeSessionQuery

// MaxListed is the most sessions of one answer.
const MaxListed = maxListed

// FixIDs makes responses reproducible.
func (s *Server) FixIDs() {
	s.now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	s.newID = func() string { return "ID" }
}

// SetSessions replaces Options.Sessions.
func (s *Server) SetSessions(x Sessions) { s.sessions = x }

// SetPeerUID replaces the question to the kernel.
func (s *Server) SetPeerUID(uid uint32) {
	s.gate.peer = func(net.Conn) (peer, error) { return peer{uid: uid}, nil }
}

// AllowGroup replaces Options.AllowedGID.
func (s *Server) AllowGroup(gid *uint32) { s.gate.group.Store(gid) }

// MaxTCPConns is the number of TCP connections served at a time.
const MaxTCPConns = maxTCPConns

// TrustPeers lets connections in that are no Unix sockets.
func (s *Server) TrustPeers() { s.SetPeerUID(uint32(os.Geteuid())) }

// ChatDeltas is the data of the events that a piece of a chat's answer becomes.
func ChatDeltas(d Delta) (data []string) {
	for _, e := range (&chatFormat{choices: 1, logprobs: true}).delta(0, d) {
		p, err := marshal(e.data)
		if err != nil {
			panic(err)
		}
		data = append(data, string(p))
	}
	return data
}
