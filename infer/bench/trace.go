package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"edged/infer/graph"
)

// trace says when the ops of a step at a row's depth ran.
func (m *machine) trace(ctx context.Context, row *Row) (err error) {
	if row.spans, err = m.run.Trace(ctx, m.token(m.run.Len())); err != nil {
		return fmt.Errorf("trace a step on %s: %w", m.cfg.BackendName, err)
	}
	_, err = m.run.Truncate(row.Depth) // the step's position is not kept
	return err
}

// traceEvent is one of Chrome's trace format; times are in us.
type traceEvent struct {
	Name  string            `json:"name"`
	Phase string            `json:"ph"` // X: a span; M: the name of a process
	Begin float64           `json:"ts"`
	Took  float64           `json:"dur"`
	PID   int               `json:"pid"` // the step
	TID   int               `json:"tid"` // the stream
	Args  map[string]string `json:"args,omitempty"`
}

// WriteTrace writes a step of each depth in Chrome's trace format, which
// chrome://tracing and Perfetto show.
func (r *Report) WriteTrace(w io.Writer) error {
	events := []traceEvent{}
	for i, row := range r.Rows {
		if len(row.spans) == 0 {
			continue
		}
		events = append(events, traceEvent{Name: "process_name", Phase: "M", PID: i, Args: map[string]string{"name": fmt.Sprintf("a step behind %d tokens", row.Depth)}})
		for _, s := range row.spans {
			events = append(events, spanEvent(i, s))
		}
	}
	return json.NewEncoder(w).Encode(map[string]any{"displayTimeUnit": "ns", "traceEvents": events})
}

func spanEvent(step int, s graph.OpSpan) traceEvent {
	e := traceEvent{Name: s.Name, Phase: "X", Begin: micros(s.Begin), Took: micros(s.End - s.Begin), PID: step, TID: s.Stream}
	if s.Kernel != "" {
		e.Args = map[string]string{"kernel": s.Kernel}
	}
	return e
}

// micros is seconds in us, to the ns.
func micros(s float64) float64 { return math.Round(s*1e9) / 1e3 }
