package infer

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"edged/offload"
)

// Defaults of Config for fields that are 0.
const (
	DefaultChunkTok  = 512 // long enough for the matrix kernels, short enough to cancel
	DefaultMaxSeqs   = 4
	DefaultMaxQueue  = 64
	DefaultCacheSeqs = 8
	// DefaultCheckpoint is short beside what reading a long prompt takes, and long
	// beside writing what it leaves.
	DefaultCheckpoint = 30 * time.Second
	DefaultPolicy     = "auto"
	DefaultBackend    = "cpu"
)

// ModelConfig is one model that requests may name.
type ModelConfig struct {
	Name string
	Path string // GGUF file, the first part of a split one
	// Context is the most tokens of prompt and completion together. 0 is the
	// model's own length, or less when the KV cache of one such sequence does
	// not fit the host memory beside the weights; Models reports the outcome.
	Context int
	Policy  string // KV cache policy; "" is DefaultPolicy
	Cache   offload.Options
}

// Config fixes an engine for its whole life. Zero fields get the defaults,
// except Models and HostBytes, which must be set.
type Config struct {
	Models      []ModelConfig
	Default     string // name for requests that name none; "" is the first model
	AllowSwitch bool   // a request may make another configured model resident

	Backend string // "cpu" or "ref"; never replaced by another one
	Threads int    // CPU threads; 0 is GOMAXPROCS

	ChunkTok int // most prompt tokens of one step, so of what a cancel waits for
	MaxSeqs  int // requests that run at once
	MaxQueue int // requests that wait beyond those
	// QueueTimeout is the longest that a request waits before its first step; 0 is
	// no limit.
	QueueTimeout time.Duration

	// CacheTok is the most tokens in the KV cache, running and kept sequences
	// together. 0 is twice the context, or what host memory carries.
	CacheTok  int
	CacheSeqs int // finished sequences that may be kept for their prefixes

	// HostBytes is the most bytes of weights, KV pages and activations
	// together. There is no default: the caller knows what else the machine
	// has to carry.
	HostBytes int64
	// FastBytes is the most bytes of the cache's fast tier, beside HostBytes:
	// what a device's memory would be. 0 has both tiers in HostBytes.
	FastBytes int64
	// DeviceReserve is the bytes of a device's memory that are left to other
	// programs. 0 is what the backend thinks right.
	DeviceReserve int64
	LockKV        bool // mlock KV pages

	// Checkpoint is the time after which a session's first prompt, while it is being
	// read, is kept as far as it has come. 0 is DefaultCheckpoint.
	Checkpoint time.Duration

	// Lost is told once when the backend's device answers no more. Only a new
	// process helps then, and this one should end without closing the engine, whose
	// memory is the device's. nil leaves the engine [Failed].
	Lost func(error)

	Logger *slog.Logger // nil discards
}

// withDefaults checks the configuration and fills in defaults.
func (c Config) withDefaults() (Config, error) {
	c.Models = slices.Clone(c.Models)
	if len(c.Models) == 0 {
		return c, &InvalidError{"models", "must name at least one model"}
	}
	for i := range c.Models {
		if err := c.checkModel(i); err != nil {
			return c, err
		}
	}
	if c.Default == "" {
		c.Default = c.Models[0].Name
	}
	if _, ok := c.model(c.Default); !ok {
		return c, &InvalidError{"default", fmt.Sprintf("%q is not a configured model; configured: %s", c.Default, strings.Join(c.names(), ", "))}
	}
	for _, f := range []struct {
		name string
		v    *int
		def  int
	}{
		{"threads", &c.Threads, runtime.GOMAXPROCS(0)}, {"chunk", &c.ChunkTok, DefaultChunkTok},
		{"sequences", &c.MaxSeqs, DefaultMaxSeqs}, {"queue", &c.MaxQueue, DefaultMaxQueue},
		{"cache sequences", &c.CacheSeqs, DefaultCacheSeqs}, {"cache tokens", &c.CacheTok, 0},
	} {
		if *f.v < 0 {
			return c, &InvalidError{f.name, fmt.Sprintf("must not be negative, got %d", *f.v)}
		}
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	if c.HostBytes <= 0 {
		return c, &InvalidError{"host memory", fmt.Sprintf("must be positive, got %d bytes", c.HostBytes)}
	}
	if c.FastBytes < 0 {
		return c, &InvalidError{"fast memory", fmt.Sprintf("must not be negative, got %d bytes", c.FastBytes)}
	}
	if c.QueueTimeout < 0 {
		return c, &InvalidError{"queue timeout", fmt.Sprintf("must not be negative, got %v", c.QueueTimeout)}
	}
	if c.Checkpoint < 0 {
		return c, &InvalidError{"checkpoint", fmt.Sprintf("must not be negative, got %v", c.Checkpoint)}
	}
	if c.Checkpoint == 0 {
		c.Checkpoint = DefaultCheckpoint
	}
	if c.Backend == "" {
		c.Backend = DefaultBackend
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func (c Config) checkModel(i int) error {
	m := &c.Models[i]
	field := func(s string) string { return fmt.Sprintf("models[%d].%s", i, s) }
	if m.Name == "" || m.Path == "" {
		return &InvalidError{field("name"), fmt.Sprintf("name %q and path %q must both be given", m.Name, m.Path)}
	}
	for _, other := range c.Models[:i] {
		if other.Name == m.Name {
			return &InvalidError{field("name"), fmt.Sprintf("%q is configured twice", m.Name)}
		}
	}
	if m.Context < 0 {
		return &InvalidError{field("context"), fmt.Sprintf("must not be negative, got %d", m.Context)}
	}
	if m.Policy == "" {
		m.Policy = DefaultPolicy
	}
	if _, err := offload.PolicyByName(m.Policy); err != nil {
		return &InvalidError{field("policy"), err.Error()}
	}
	return nil
}

func (c Config) model(name string) (ModelConfig, bool) {
	for _, m := range c.Models {
		if m.Name == name {
			return m, true
		}
	}
	return ModelConfig{}, false
}

func (c Config) names() []string {
	names := make([]string, len(c.Models))
	for i, m := range c.Models {
		names[i] = m.Name
	}
	return names
}
