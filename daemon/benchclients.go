package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"edged/infer"
	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/client"
)

// ClientBench measures what several clients get at a time, through the socket.
type ClientBench struct {
	Evaluation
	Clients []int // numbers of clients to compare
	Prompt  int   // least tokens of a prompt
	Gen     int   // most tokens of an answer
	Reps    int
	// Progress says what is measured next; may be nil.
	Progress func(string)
}

// ClientRow is what a number of clients got.
type ClientRow struct {
	Clients   int       `json:"clients"`
	TokPerSec []float64 `json:"tokens_per_second"` // of answers, all clients together, of each repetition
	Median    float64   `json:"tokens_per_second_median"`
}

// ClientReport is what a ClientBench has measured.
type ClientReport struct {
	Model   string      `json:"model"`
	Answers int         `json:"answers"`       // of each repetition of a row
	Tokens  int         `json:"tokens"`        // of all answers of a row
	Prompt  int         `json:"prompt_tokens"` // of the longest prompt
	Rows    []ClientRow `json:"rows"`
	// Differ is the answers that were not those of the first row, whose clients
	// are the fewest.
	Differ int `json:"differing_answers"`
}

// Run measures every number of clients in turn, so that another load on the
// machine meets all of them.
func (b ClientBench) Run(ctx context.Context) (r ClientReport, err error) {
	if r, err = b.run(ctx); err != nil {
		return r, fmt.Errorf("bench clients: %w", err)
	}
	return r, nil
}

func (b ClientBench) run(ctx context.Context) (r ClientReport, err error) {
	dir, err := os.MkdirTemp("", "edged-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// Few prefixes are kept, so that no row finds the prompts of the one before.
	engine, err := b.engine(ctx, func(c *infer.Config) { c.MaxSeqs, c.CacheSeqs = slices.Max(b.Clients), 1 })
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	socket := filepath.Join(dir, "s")
	l, err := ipc.Listen(socket)
	if err != nil {
		return r, err
	}
	log := slog.New(slog.DiscardHandler)
	server := ipc.New(newAdapter(engine, DefaultConfig().Sampling, nil, log), ipc.Options{Log: log})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { err = errors.Join(err, server.Shutdown(context.WithoutCancel(ctx)), <-served) }()
	c := client.New(socket)
	defer c.Close()
	return b.measure(ctx, c, engine.Status().Model)
}

func (b ClientBench) measure(ctx context.Context, c *client.Client, model string) (ClientReport, error) {
	filler, err := b.filler(ctx, c)
	if err != nil {
		return ClientReport{}, err
	}
	counts := slices.Sorted(slices.Values(b.Clients))
	r := ClientReport{Model: model, Answers: counts[len(counts)-1]}
	for _, n := range counts {
		r.Rows = append(r.Rows, ClientRow{Clients: n})
	}
	for rep := range b.Reps {
		var first []string
		for i := range r.Rows {
			row := &r.Rows[i]
			if b.Progress != nil {
				b.Progress(fmt.Sprintf("%d clients, %d of %d", row.Clients, rep+1, b.Reps))
			}
			start := time.Now()
			answers, err := b.round(ctx, c, rep, row.Clients, r.Answers, filler)
			if err != nil {
				return r, fmt.Errorf("%d clients: %w", row.Clients, err)
			}
			took, tokens := time.Since(start), 0
			var texts []string
			for _, a := range answers {
				tokens += a.Usage.CompletionTokens
				r.Prompt = max(r.Prompt, a.Usage.PromptTokens)
				texts = append(texts, a.Text)
			}
			row.TokPerSec = append(row.TokPerSec, float64(tokens)/took.Seconds())
			if i == 0 {
				first, r.Tokens = texts, r.Tokens+tokens
			}
			for k, text := range texts {
				if text != first[k] {
					r.Differ++
				}
			}
		}
	}
	for i := range r.Rows {
		s := slices.Sorted(slices.Values(r.Rows[i].TokPerSec))
		r.Rows[i].Median = s[len(s)/2]
	}
	return r, nil
}

// round lets n clients ask for the answers of a repetition, each as soon as its
// last one is there.
func (b ClientBench) round(ctx context.Context, c *client.Client, rep, n, count int, filler string) ([]client.Answer, error) {
	answers := make([]client.Answer, count)
	var next atomic.Int64
	var all errgroup.Group
	for range n {
		all.Go(func() error {
			for k := int(next.Add(1)) - 1; k < count; k = int(next.Add(1)) - 1 {
				var err error
				if answers[k], err = c.Complete(ctx, b.request(rep, k, filler), nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return answers, all.Wait()
}

// filler is text that makes prompts as long as is wanted.
func (b ClientBench) filler(ctx context.Context, c *client.Client) (string, error) {
	const sentence = " Every word of the story was read by somebody else."
	if b.Prompt == 0 {
		return "", nil
	}
	tokens, err := c.Tokenize(ctx, api.TokenizeRequest{Content: sentence})
	if err != nil {
		return "", fmt.Errorf("count the tokens of a sentence: %w", err)
	}
	return strings.Repeat(sentence, b.Prompt/max(len(tokens), 1)+1), nil
}

func (b ClientBench) request(rep, k int, filler string) api.CompletionRequest {
	zero := 0.0
	return api.CompletionRequest{
		Prompt:  fmt.Sprintf("Chapter %d of the story of number %d.%s Once upon a time, there was a", rep, k, filler),
		Options: api.Options{MaxTokens: &b.Gen, Temperature: &zero, User: fmt.Sprint(k)},
	}
}
