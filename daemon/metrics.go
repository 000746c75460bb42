package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"edged/ipc"
)

// meter counts requests. It may be used from any goroutine.
type meter struct {
	requests   *prometheus.CounterVec // by outcome
	cached     prometheus.Counter
	restored   prometheus.Counter
	firstToken prometheus.Histogram
	perToken   prometheus.Histogram
	now        func() time.Time
}

func newMeter() *meter {
	return &meter{
		now: time.Now,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edged_requests_total", Help: "Generation requests that have ended, by outcome: done, cancelled, refused, failed."}, []string{"outcome"}),
		cached: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edged_cached_tokens_total", Help: "Prompt tokens that were not computed because the cache had them, restored ones included."}),
		restored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edged_restored_tokens_total", Help: "Prompt tokens that were read from the store."}),
		firstToken: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "edged_first_token_seconds", Help: "From a request's arrival to its first text.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}),
		perToken: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "edged_token_seconds", Help: "Mean time between an answer's tokens.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}}),
	}
}

func (m *meter) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.cached, m.restored, m.firstToken, m.perToken}
}

// generate counts a request that run answers.
func (m *meter) generate(emit func(ipc.Delta) error, run func(func(ipc.Delta) error) (ipc.Result, error)) (ipc.Result, error) {
	start, begun := m.now(), false
	res, err := run(func(d ipc.Delta) error {
		if d.Text != "" && !begun {
			begun = true
			m.firstToken.Observe(m.now().Sub(start).Seconds())
		}
		return emit(d)
	})
	m.requests.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		return res, err
	}
	m.cached.Add(float64(res.CachedTokens))
	m.restored.Add(float64(res.RestoredTokens))
	if n := res.CompletionTokens - 1; n > 0 { // the first one belongs to the prompt
		m.perToken.Observe(res.PredictTime.Seconds() / float64(n))
	}
	return res, nil
}

// outcome tells what clients did from what the daemon refused, and both from failures.
func outcome(err error) string {
	var e *ipc.Error
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &e) && e.Kind != ipc.KindFailed && e.Kind != ipc.KindInternal:
		return "refused"
	}
	return "failed"
}

// metricsHandler answers scrapes with the meter, the daemon's status and the
// process's own figures.
func metricsHandler(m *meter, o *operator, log *slog.Logger) http.Handler {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m.collectors()...)
	r.MustRegister(statusCollector{o}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), DisableCompression: true, // the socket is faster than any compression
	})
}
