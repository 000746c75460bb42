package bench

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"edged/infer/graph"
	"edged/offload"
)

// Report is the outcome of Run, as it is written in JSON.
type Report struct {
	Name          string  `json:"name"` // general.name of the file
	Path          string  `json:"path"`
	Arch          string  `json:"arch"`
	FileBytes     int64   `json:"file_bytes"` // all parts
	WeightBytes   int64   `json:"weight_bytes_per_step"`
	Cache         string  `json:"cache"` // how tokens are kept
	CacheFast     int64   `json:"cache_fast_bytes"`
	CacheHost     int64   `json:"cache_host_bytes"`
	KVBytesPerTok int64   `json:"kv_bytes_per_token"` // of an exact f16 cache
	Backend       string  `json:"backend"`
	Threads       int     `json:"threads"`
	ChunkTok      int     `json:"chunk_tokens"`
	ReadBandwidth float64 `json:"read_bandwidth_bytes_per_second"`
	Rows          []Row   `json:"rows"`
}

// Row is one test.
type Row struct {
	Test        string    `json:"test"`              // pp512, tg64
	Tokens      int       `json:"tokens"`            // per repetition
	Depth       int       `json:"depth"`             // tokens cached before
	Seconds     []float64 `json:"seconds"`           // of each repetition
	TokPerSec   float64   `json:"tokens_per_second"` // median
	Min         float64   `json:"tokens_per_second_min"`
	Max         float64   `json:"tokens_per_second_max"`
	BytesPerTok int64     `json:"bytes_per_token"` // that have to be read at least
	BytesPerSec float64   `json:"bytes_per_second"`
	Share       float64   `json:"bandwidth_share"` // of ReadBandwidth
	// Fetched and Streamed are bytes of a token that were counted as they came from the
	// host tier: of records or rows, and of critical channels.
	Fetched  int64 `json:"fetched_bytes_per_token,omitempty"`
	Streamed int64 `json:"streamed_bytes_per_token,omitempty"`
	// Choice and Attention are shares of all threads' time that went into
	// choosing what to attend to, the bookkeeping of that included, and into
	// attention; nil where the backend does not note them.
	Choice    *float64 `json:"choice_share,omitempty"`
	Attention *float64 `json:"attention_share,omitempty"`

	Ops []Op `json:"ops,omitempty"` // of a step behind Depth tokens, where they were asked for

	spans             []graph.OpSpan // of a step behind Depth tokens, where they were asked for
	choice, attention time.Duration  // of all threads and repetitions
	noted             bool
}

func newReport(c Config, p *graph.Program, k cost) *Report {
	return &Report{Path: c.Path, Arch: p.Name, Backend: c.BackendName, Threads: c.Threads, ChunkTok: c.ChunkTok, WeightBytes: k.weights,
		Cache: k.plan.Resolved, CacheFast: k.plan.Bytes.Fast.Total(), CacheHost: k.plan.Bytes.Host.Total(), KVBytesPerTok: offload.ExactBytes(p.KV, 1)}
}

func (r *Row) add(d time.Duration) { r.Seconds = append(r.Seconds, d.Seconds()) }

func (r *Row) spend(choice, attention time.Duration) {
	r.choice, r.attention, r.noted = r.choice+choice, r.attention+attention, true
}

// bring counts what all repetitions brought from the host tier.
func (r *Row) bring(from, to offload.Traffic) {
	n := int64(r.Tokens * len(r.Seconds))
	r.Fetched, r.Streamed = (to.Fetched-from.Fetched)/n, (to.Streamed-from.Streamed)/n
}

// fromHost is that in MB a token; empty where nothing came.
func (r *Row) fromHost() string {
	if n := r.Fetched + r.Streamed; n > 0 {
		return fmt.Sprintf("%.1f", float64(n)/1e6)
	}
	return ""
}

// share is a part of all threads' time.
func (r *Row) share(d time.Duration, threads int) *float64 {
	if !r.noted {
		return nil
	}
	var all float64
	for _, s := range r.Seconds {
		all += s * float64(threads)
	}
	x := d.Seconds() / all
	return &x
}

// finish computes what follows from the times.
func (r *Report) finish(bandwidth float64) {
	r.ReadBandwidth = bandwidth
	for i := range r.Rows {
		row := &r.Rows[i]
		n := float64(row.Tokens)
		row.TokPerSec = n / Median(row.Seconds)
		row.Min, row.Max = n/slices.Max(row.Seconds), n/slices.Min(row.Seconds)
		row.BytesPerSec = row.TokPerSec * float64(row.BytesPerTok)
		row.Share = row.BytesPerSec / bandwidth
		for i := range row.Ops {
			row.Ops[i].Share = row.Ops[i].BytesPerSec / bandwidth
		}
		row.Choice, row.Attention = row.share(row.choice, r.Threads), row.share(row.attention, r.Threads)
	}
}

// Median is the middle value, or the mean of the two in the middle. There has to be one.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// WriteTable prints the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s (%s), %s, %d threads, chunks of %d\nweights read per step %.1f MB, exact KV %.1f KB per token, cache %s (fast tier %.1f MB, host tier %.1f MB), read bandwidth %.1f GB/s\n\n",
		r.Name, r.Arch, r.Backend, r.Threads, r.ChunkTok, float64(r.WeightBytes)/1e6, float64(r.KVBytesPerTok)/1e3, r.Cache, float64(r.CacheFast)/1e6, float64(r.CacheHost)/1e6, r.ReadBandwidth/1e9); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "test\tdepth\ttokens/s\tmin\tmax\tMB/token\tGB/s\tof bandwidth\tfrom host, MB\tchoice\tattention\t")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t%.0f %%\t%s\t%s\t%s\t\n", row.Test, row.Depth, row.TokPerSec, row.Min, row.Max,
			float64(row.BytesPerTok)/1e6, row.BytesPerSec/1e9, 100*row.Share, row.fromHost(), percent(row.Choice), percent(row.Attention))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.writeOps(w)
}

// WriteGoBench prints one line per repetition in the format of Go benchmarks,
// which benchstat compares. An operation is a token.
func (r *Report) WriteGoBench(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: edged/infer/bench\nmodel: %s\nbackend: %s\n", runtime.GOOS, runtime.GOARCH, r.Name, r.Backend); err != nil {
		return err
	}
	for _, row := range r.Rows {
		for _, s := range row.Seconds {
			n := float64(row.Tokens)
			if _, err := fmt.Fprintf(w, "BenchmarkTokens/test=%s/depth=%d-%d\t%d\t%.1f ns/op\t%.2f MB/s\t%.2f tok/s\n", row.Test, row.Depth, r.Threads,
				row.Tokens, s/n*1e9, float64(row.BytesPerTok)*n/s/1e6, n/s); err != nil {
				return err
			}
		}
	}
	return nil
}

// percent is a share of a step; empty where none was noted.
func percent(share *float64) string {
	if share == nil {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100**share)
}
