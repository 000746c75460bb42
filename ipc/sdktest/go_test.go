package sdktest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"edged/ipc/ipctest"
)

const question = "Note: the access code of red-apple is 4711234.\nWhat is the access code of red-apple?"

func newClient(t *testing.T, g target) openai.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", g.socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return openai.NewClient(option.WithBaseURL("http://localhost/v1"), option.WithAPIKey("-"),
		option.WithHTTPClient(&http.Client{Transport: transport}), option.WithMaxRetries(0))
}

func ask(g target, content string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: g.model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(content)},
		Temperature: openai.Float(0), Seed: openai.Int(1), MaxCompletionTokens: openai.Int(24),
	}
}

func TestGoModels(t *testing.T) {
	g := newTarget(t)
	client := newClient(t, g)
	page, err := client.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(page.Data, func(m openai.Model) bool { return m.ID == g.model }) {
		t.Errorf("%s is not in %v", g.model, page.Data)
	}
	m, err := client.Models.Get(t.Context(), g.model)
	if err != nil || m.ID != g.model || m.Created == 0 || m.OwnedBy == "" {
		t.Errorf("got %+v, %v", m, err)
	}
	_, err = client.Models.Get(t.Context(), "no/such model")
	wantError(t, err, 404, "model_not_found", "model")
}

func TestGoChatAndStream(t *testing.T) {
	g := newTarget(t)
	client := newClient(t, g)
	whole, err := client.Chat.Completions.New(t.Context(), ask(g, question))
	if err != nil {
		t.Fatal(err)
	}
	c, u := whole.Choices[0], whole.Usage
	if c.Message.Content == "" || c.FinishReason != "stop" && c.FinishReason != "length" || c.Message.Role != "assistant" {
		t.Errorf("got %+v", c)
	}
	if u.PromptTokens == 0 || u.CompletionTokens == 0 || u.PromptTokens+u.CompletionTokens != u.TotalTokens {
		t.Errorf("got %+v", u)
	}

	params := ask(g, question)
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	defer stream.Close()
	var acc openai.ChatCompletionAccumulator
	for stream.Next() {
		if !acc.AddChunk(stream.Current()) {
			t.Fatalf("the accumulator refuses %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if got := acc.Choices[0]; got.Message.Content != c.Message.Content || got.FinishReason != c.FinishReason {
		t.Errorf("the stream gave %+v, not %+v", got, c)
	}
	if acc.Usage.CompletionTokens != u.CompletionTokens {
		t.Errorf("the stream used %+v, not %+v", acc.Usage, u)
	}
}

func TestGoLogprobs(t *testing.T) {
	g := newTarget(t)
	client := newClient(t, g)
	params := ask(g, question)
	params.Logprobs, params.TopLogprobs = openai.Bool(true), openai.Int(3)
	r, err := client.Chat.Completions.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, tok := range r.Choices[0].Logprobs.Content {
		for _, b := range tok.Bytes {
			text = append(text, byte(b))
		}
		if tok.Logprob > 0 || len(tok.TopLogprobs) != 3 || tok.TopLogprobs[0].Token != tok.Token {
			t.Errorf("got %+v", tok)
		}
	}
	if got, want := strings.ToValidUTF8(string(text), ""), r.Choices[0].Message.Content; got != want {
		t.Errorf("the tokens say %q, the message %q", got, want)
	}
}

func TestGoCompletion(t *testing.T) {
	g := newTarget(t)
	client := newClient(t, g)
	params := openai.CompletionNewParams{
		Model: openai.CompletionNewParamsModel(g.model), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("The access code is")},
		Temperature: openai.Float(0), MaxTokens: openai.Int(24),
	}
	whole, err := client.Completions.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	stream := client.Completions.NewStreaming(t.Context(), params)
	defer stream.Close()
	var text strings.Builder
	for stream.Next() {
		text.WriteString(stream.Current().Choices[0].Text)
	}
	if err := stream.Err(); err != nil || text.String() != whole.Choices[0].Text || text.Len() == 0 {
		t.Errorf("the stream gave %q, %v, the whole %q", text.String(), err, whole.Choices[0].Text)
	}
}

func TestGoErrors(t *testing.T) {
	g := newTarget(t)
	client := newClient(t, g)
	m, err := client.Models.Get(t.Context(), g.model)
	if err != nil {
		t.Fatal(err)
	}
	length := m.JSON.ExtraFields["max_model_len"].Raw()
	tooLong := strings.Repeat("word ", 1+atoi(t, length))
	for _, tt := range []struct {
		name   string
		change func(*openai.ChatCompletionNewParams)
		status int
		code   string
		param  string
	}{
		{"model", func(p *openai.ChatCompletionNewParams) { p.Model = "gpt-none" }, 404, "model_not_found", "model"},
		{"temperature", func(p *openai.ChatCompletionNewParams) { p.Temperature = openai.Float(5) }, 400, "", "temperature"},
		{"n", func(p *openai.ChatCompletionNewParams) { p.N = openai.Int(99) }, 400, "", "n"},
		{"length", func(p *openai.ChatCompletionNewParams) {
			p.Messages = []openai.ChatCompletionMessageParamUnion{openai.UserMessage(tooLong)}
		}, 400, "context_length_exceeded", "messages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			params := ask(g, question)
			tt.change(&params)
			_, err := client.Chat.Completions.New(t.Context(), params)
			wantError(t, err, tt.status, tt.code, tt.param)
			stream := client.Chat.Completions.NewStreaming(t.Context(), params)
			defer stream.Close()
			if stream.Next() {
				t.Errorf("the stream has %s", stream.Current().RawJSON())
			}
			wantError(t, stream.Err(), tt.status, tt.code, tt.param)
		})
	}
}

func TestGoFailure(t *testing.T) {
	g := newTarget(t)
	if g.engine == nil {
		t.Skip("only the scripted engine fails on demand")
	}
	client := newClient(t, g)
	stream := client.Chat.Completions.NewStreaming(t.Context(), ask(g, ipctest.Failing))
	defer stream.Close()
	var text string
	for stream.Next() {
		text += stream.Current().Choices[0].Delta.Content
	}
	if err := stream.Err(); text != "The" || err == nil || !strings.Contains(err.Error(), "internal_error") {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestGoCancel(t *testing.T) {
	g := newTarget(t)
	client := newClient(t, g)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		params := ask(g, "Write an endless story about the sea.")
		params.MaxCompletionTokens = openai.ChatCompletionNewParams{}.MaxCompletionTokens // until the context is full
		stream := client.Chat.Completions.NewStreaming(ctx, params)
		for stream.Next() {
			if c := stream.Current().Choices; len(c) > 0 && c[0].Delta.Content != "" {
				break
			}
		}
		cancel()
		for stream.Next() {
		}
		if err := stream.Err(); !errors.Is(err, context.Canceled) && g.engine != nil {
			t.Errorf("the cancelled stream ended with %v", err)
		}
		stream.Close()
	}
	g.mustHaveCancelled(t, 3)
	if _, err := client.Chat.Completions.New(t.Context(), ask(g, question)); err != nil {
		t.Errorf("after the cancellations: %v", err)
	}
}

func wantError(t *testing.T, err error, status int, code, param string) {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	if e.StatusCode != status || e.Code != code || e.Param != param || e.Message == "" || e.Type == "" {
		t.Errorf("got %d %s", e.StatusCode, e.RawJSON())
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestGoEmbeddings(t *testing.T) {
	g := newTarget(t)
	client := newClient(t, g)
	r, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: g.model, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"The cat sleeps.", "x"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Data) != 2 || r.Data[1].Index != 1 || len(r.Data[0].Embedding) < 2 || r.Usage.PromptTokens < 2 || r.Usage.PromptTokens != r.Usage.TotalTokens {
		t.Errorf("got %s", r.RawJSON())
	}
	for _, d := range r.Data {
		var square float64
		for _, x := range d.Embedding {
			square += x * x
		}
		if square < 0.999 || square > 1.001 {
			t.Errorf("the squares of vector %d sum to %g, want 1", d.Index, square)
		}
	}
	_, err = client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: g.model, Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("x")}, Dimensions: openai.Int(1 << 20),
	})
	wantError(t, err, 400, "", "dimensions")
}
