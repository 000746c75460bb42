package eval

import (
	"context"
	"strings"

	"edged/infer"
	"edged/infer/chat"
)

// EngineAnswerer answers with an engine in this process.
type EngineAnswerer struct {
	Engine *infer.Engine
	Model  string // "" is the engine's default
}

// Answer generates greedily; the model's own end-of-turn token ends it.
func (a EngineAnswerer) Answer(ctx context.Context, messages []Message, maxTok int) (string, error) {
	req := &infer.Request{Model: a.Model, MaxTokens: maxTok}
	for _, m := range messages {
		req.Messages = append(req.Messages, chat.Message{Role: m.Role, Content: m.Content})
	}
	var text strings.Builder
	_, err := a.Engine.Generate(ctx, req, func(d infer.Delta) error {
		text.Write(d.Text)
		return nil
	})
	return text.String(), err
}
