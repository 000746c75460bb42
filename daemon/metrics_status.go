package daemon

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// statusCollector shows the daemon's status as metrics, read when they are asked for.
type statusCollector struct{ o *operator }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("edged_"+name, help, labels, nil)
}

var (
	descBuild      = describe("build_info", "1, with the version.", "version", "backend")
	descCondition  = describe("health_condition", "1 while the condition holds, else 0.", "code", "severity")
	descModel      = describe("model_info", "1, with the resident model.", "model", "cache")
	descContext    = describe("context_tokens", "Tokens of prompt and answer that the resident model is served with.")
	descCache      = describe("cache_tokens", "Tokens that the KV cache was made for.")
	descFree       = describe("cache_free_tokens", "Tokens that the KV cache can take without freeing any.")
	descKept       = describe("cache_idle_conversations", "Finished conversations that are kept for their prefixes.")
	descRunning    = describe("requests_running", "Generation requests that run.")
	descQueued     = describe("requests_queued", "Generation requests that wait.")
	descMaxQueued  = describe("requests_queued_max", "Requests that may wait; more are refused.")
	descRead       = describe("prompt_tokens_total", "Prompt tokens that were computed.")
	descGenerated  = describe("generated_tokens_total", "Tokens that were sampled.")
	descNarrowed   = describe("narrowed_tokens_total", "Generated tokens whose logits did not have to leave the device whole.")
	descStepAge    = describe("last_step_age_seconds", "Since the last step that succeeded.")
	descStepTime   = describe("last_step_seconds", "That the last step took.")
	descMemory     = describe("memory_bytes", "Bytes that models hold.", "tier", "purpose")
	descAvailable  = describe("host_memory_available_bytes", "Memory of the machine that can be taken without swapping.")
	descPressure   = describe("host_memory_pressure_ratio", "Share of the last ten seconds in which something waited for memory.")
	descSessions   = describe("store_sessions", "Sessions in the store.")
	descStoreBytes = describe("store_bytes", "Bytes of the store's files.")
	descBudget     = describe("store_budget_bytes", "Most bytes of the store's payload files, 0 for no limit.")
	descFetched    = describe("cache_fetched_bytes_total", "Bytes of records that decode steps of the resident model brought from the host tier.")
	descHits       = describe("cache_page_hits_total", "Chosen pages that were in the working set already, since the model was loaded.")
	descChosen     = describe("cache_pages_chosen_total", "Pages that decode steps attended to, since the model was loaded.")
)

// Describe implements prometheus.Collector. Nothing is promised: what there is depends
// on the state, and what comes is checked when it is asked for.
func (statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c statusCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.o.Status(context.Background())
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descBuild, err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	gauge(descBuild, 1, s.Version, s.Backend)
	holds := map[string]float64{}
	for _, f := range s.Conditions {
		holds[f.Code] = 1
	}
	for _, x := range c.o.health.Conditions() {
		gauge(descCondition, holds[x.Code], x.Code, x.Severity.String())
	}
	if m := s.Model; m != nil {
		gauge(descModel, 1, m.ID, m.Cache)
		gauge(descContext, float64(m.Context))
		gauge(descCache, float64(m.CacheTokens))
		gauge(descFree, float64(m.FreeTokens))
		gauge(descKept, float64(m.IdleKept))
		t := c.o.engine.Status().Traffic
		counter(descFetched, float64(t.Fetched+t.Streamed))
		counter(descHits, float64(t.Hits))
		counter(descChosen, float64(t.Chosen))
	}
	gauge(descRunning, float64(s.Requests.Running))
	gauge(descQueued, float64(s.Requests.Queued))
	gauge(descMaxQueued, float64(s.Requests.MaxQueued))
	counter(descRead, float64(s.Tokens.Read))
	counter(descGenerated, float64(s.Tokens.Generated))
	counter(descNarrowed, float64(s.Tokens.Narrowed))
	if s.LastStep != nil {
		gauge(descStepAge, s.LastStep.AgeSeconds)
		gauge(descStepTime, s.LastStep.Seconds)
	}
	for _, m := range s.Memory {
		gauge(descMemory, float64(m.Bytes), m.Tier, m.Purpose)
	}
	gauge(descAvailable, float64(s.Host.Available))
	if s.Host.Pressure != nil {
		gauge(descPressure, *s.Host.Pressure)
	}
	if s.Store != nil {
		gauge(descSessions, float64(s.Store.Sessions))
		gauge(descStoreBytes, float64(s.Store.DiskBytes))
		gauge(descBudget, float64(s.Store.Budget))
	}
}
