package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"edged/ipc/api"
	"edged/ipc/client"
)

// soakClients ask at the same time. Every fourth of them streams, cancels, reads
// slowly or goes on with a session.
const soakClients = 64

// errCancelled is why a client leaves.
var errCancelled = errors.New("cancelled by the soak")

// soaker is one client in a closed loop. Its fields belong to its goroutine until
// that has ended.
type soaker struct {
	n       int
	c       *client.Client
	session string
	turns   int

	asked, answered, cancelled int
	units                      float64 // served, as the engine charges them
	lost                       []error
}

// TestSoak runs a daemon for as long as EDGED_SOAK says, such as 10m, with many
// clients of all kinds: nothing that it holds may grow, no request may get lost,
// and clients who always ask must be served equally.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("EDGED_SOAK"))
	if err != nil {
		t.Skip("EDGED_SOAK is not a duration")
	}
	var d daemonProcess
	d.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	clients := make([]*soaker, soakClients)
	for i := range clients {
		clients[i] = &soaker{n: i, c: client.New(d.socket)}
		all.Go(func() { clients[i].run(ctx) })
	}
	watch := newSoakWatch(d.socket)
	defer watch.close()
	var samples []soakSample
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticks.C:
			s, err := takeSample(ctx, d.cmd.Process.Pid, watch)
			if err == nil {
				samples = append(samples, s)
			} else if ctx.Err() == nil {
				t.Errorf("sample: %v", err)
			}
		case <-ctx.Done():
		}
	}
	all.Wait()
	reportSoak(t, clients)
	compareSamples(t, samples)
	if t.Failed() {
		t.Logf("the daemon's log ends with:\n%.4000s", d.readLog())
	}
}

func (s *soaker) run(ctx context.Context) {
	defer s.c.Close()
	for ctx.Err() == nil {
		s.asked++
		err := s.ask(ctx)
		switch {
		case err == nil:
			s.answered++
		case errors.Is(err, errCancelled), ctx.Err() != nil:
			s.cancelled++
		default:
			s.lost = append(s.lost, err)
			if len(s.lost) > 20 {
				return
			}
		}
	}
}

// ask sends one request of the client's kind; loads differ by a factor of five.
func (s *soaker) ask(ctx context.Context) error {
	most, zero := 4+6*(s.n%7), 0.0
	opt := api.Options{MaxTokens: &most, Temperature: &zero, User: fmt.Sprint("client ", s.n)}
	text := fmt.Sprintf("Client %d, question %d. ", s.n, s.asked)
	for range 1 + s.n%4 {
		text += "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
	}
	begun, pieces, progress := time.Now(), 0, api.Progress{}
	onDelta := func(d client.Delta) error {
		if d.Progress != nil {
			progress = *d.Progress
		}
		if d.Text != "" {
			pieces++
		}
		switch {
		case s.n%4 == 1 && pieces >= 3+s.n%5:
			return errCancelled
		case s.n%4 == 2:
			time.Sleep(20 * time.Millisecond) // a slow reader is what is tested
		}
		return nil
	}
	var a client.Answer
	var err error
	if s.n%4 == 3 {
		a, err = s.turn(ctx, opt, text, onDelta)
	} else {
		a, err = s.c.Complete(ctx, api.CompletionRequest{Prompt: text, Options: opt}, onDelta)
	}
	if a.Usage.TotalTokens > 0 {
		s.units += float64(a.Usage.PromptTokens-progress.Cached) + 2*float64(a.Usage.CompletionTokens)
	} else {
		s.units += float64(progress.Done-progress.Cached) + 2*float64(pieces)
	}
	if err != nil {
		return fmt.Errorf("after %v: %w", time.Since(begun).Round(time.Millisecond), err)
	}
	return nil
}

// turn asks in a session; each has a few turns, so that the store does not grow.
func (s *soaker) turn(ctx context.Context, opt api.Options, text string, onDelta func(client.Delta) error) (client.Answer, error) {
	if s.session == "" {
		x, err := s.c.CreateSession(ctx, api.SessionNew{Title: "soak"})
		if err != nil {
			return client.Answer{}, err
		}
		s.session, s.turns = x.ID, 0
	}
	a, err := s.c.Chat(ctx, api.ChatRequest{Messages: []api.Message{{Role: "user", Content: text}}, Session: s.session, Options: opt}, onDelta)
	if s.turns++; err == nil && s.turns == 4 {
		err = s.c.DeleteSession(ctx, s.session)
		s.session = ""
	}
	return a, err
}

func reportSoak(t *testing.T, clients []*soaker) {
	var asked, answered, cancelled, lost int
	var units []float64
	for _, s := range clients {
		asked, answered, cancelled, lost = asked+s.asked, answered+s.answered, cancelled+s.cancelled, lost+len(s.lost)
		for _, err := range s.lost {
			t.Errorf("client %d lost a request: %v", s.n, err)
		}
		if s.n%4 != 2 { // slow readers do not always ask
			units = append(units, s.units)
		}
	}
	var sum, squares float64
	for _, u := range units {
		sum, squares = sum+u, squares+u*u
	}
	index := sum * sum / (float64(len(units)) * squares)
	t.Logf("%d requests: %d answered, %d cancelled, %d lost; %.0f units, from %.0f to %.0f a client, fairness index %.4f",
		asked, answered, cancelled, lost, sum, slices.Min(units), slices.Max(units), index)
	if index < 0.95 {
		t.Errorf("fairness index %.4f, want at least 0.95; units %.0f", index, units)
	}
}
