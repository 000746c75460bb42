package daemon

import (
	"time"

	"edged/infer"
	"edged/ipc"
)

// Config is the whole configuration, one field per TOML key. docs/CONFIG.md
// documents each key. A key tagged `reload:"live"` takes effect when the file
// changes; every other one needs a restart.
type Config struct {
	DefaultModel string   `toml:"default_model"` // name of a [[model]]; "" = the first
	AllowSwitch  bool     `toml:"allow_switch"`  // a request may make another model resident
	Socket       Socket   `toml:"socket"`
	TCP          TCP      `toml:"tcp"`
	Engine       Engine   `toml:"engine"`
	Models       []Model  `toml:"model"`
	Store        Store    `toml:"store"`
	Sampling     Sampling `toml:"sampling"`
	Log          Log      `toml:"log"`
	Stop         Stop     `toml:"stop"`
}

// Socket says where and to whom the API is served.
type Socket struct {
	Path      string   `toml:"path"`                     // "" = Paths.Socket
	Mode      FileMode `toml:"mode"`                     // permission bits of the socket file
	Group     string   `toml:"group"`                    // whose members may connect, name or id; owns the socket file
	AllowUIDs []uint32 `toml:"allow_uids" reload:"live"` // besides root and the daemon's own user
	KeepAlive Duration `toml:"keepalive" reload:"live"`  // silence in a stream before a comment is sent
}

// TCP says whether the API is served over TCP as well, and to whom.
type TCP struct {
	Listen          string   `toml:"listen"`           // address and port; "" = none but those of a socket unit
	TokenFile       string   `toml:"token_file"`       // file with the token that every request needs
	TokenCredential string   `toml:"token_credential"` // system credential with it
	Hosts           []string `toml:"hosts"`            // names that requests may use besides localhost
	Origins         []string `toml:"origins"`          // pages that may ask
	AllowRemote     bool     `toml:"allow_remote"`     // other machines may connect
}

// Engine says what the models run on.
type Engine struct {
	Backend      string `toml:"backend"`             // a name from Backends
	Threads      int    `toml:"threads"`             // CPU threads; 0 = as many as this process may use
	Chunk        int    `toml:"chunk"`               // most prompt tokens of one step
	MaxSequences int    `toml:"max_sequences"`       // requests that run at once
	Queue        int    `toml:"queue" reload:"live"` // requests that wait beyond those
	// QueueTimeout is the longest that a request waits, RequestTimeout that it takes.
	QueueTimeout   Duration `toml:"queue_timeout"`
	RequestTimeout Duration `toml:"request_timeout" reload:"live"`
	CacheTokens    int      `toml:"cache_tokens"`    // tokens in the KV cache; 0 = twice the context
	CacheSequences int      `toml:"cache_sequences"` // finished conversations kept for their prefixes
	GPUReserve     Size     `toml:"gpu_reserve"`     // bytes of GPU memory that are left to other programs; 0 = 512 MiB, or 1 GiB where it draws
	HostMemory     Size     `toml:"host_memory"`     // most bytes of weights, KV and activations; 0 = 3/4 of what is available
	LockMemory     bool     `toml:"lock_memory"`     // keep the KV cache from being swapped
}

// Model is one model that requests may name.
type Model struct {
	Name    string `toml:"name"`    // id in the API
	Path    string `toml:"path"`    // GGUF file, the first part of a split one; "" = Name in the models folder
	Context int    `toml:"context"` // tokens of prompt and answer; 0 = the model's own length
	Policy  string `toml:"policy"`  // KV cache policy
}

// Store says where sessions are kept.
type Store struct {
	Enabled bool   `toml:"enabled"` // false: no sessions, nothing is written
	Dir     string `toml:"dir"`     // folder of the store; "" = Paths.Sessions
	Budget  Size   `toml:"budget"`  // most bytes of payload files; 0 = no limit
	// UserSessions and UserBudget are what one user may have; 0 = no limit.
	UserSessions  int    `toml:"user_sessions" reload:"live"`
	UserBudget    Size   `toml:"user_budget" reload:"live"` // bytes of payload
	KeyCredential string `toml:"key_credential"`            // system credential with the key that seals the store; "" = not sealed
	// Checkpoint is how often a session's first prompt is saved as far as it is read.
	Checkpoint Duration `toml:"checkpoint"`
}

// Sampling holds what requests that do not say otherwise get.
type Sampling struct {
	Temperature   float64 `toml:"temperature" reload:"live"`
	TopK          int     `toml:"top_k" reload:"live"`
	TopP          float64 `toml:"top_p" reload:"live"`
	MinP          float64 `toml:"min_p" reload:"live"`
	TypicalP      float64 `toml:"typical_p" reload:"live"`
	RepeatPenalty float64 `toml:"repeat_penalty" reload:"live"`
}

// Log says what is logged.
type Log struct {
	Level Level `toml:"level" reload:"live"`
}

// Stop says how the daemon ends.
type Stop struct {
	Drain Duration `toml:"drain" reload:"live"` // time that running answers get
}

// defaultStoreBudget holds three conversations of 128k tokens of an 8B model in
// 8 bits, and leaves most of a workstation's disk alone.
const defaultStoreBudget = 32 << 30

// Limits of the values. They are generous: each exists because a larger value
// is surely a mistake, or because the code behind it has that limit.
const (
	maxThreads   = 256 // what the cpu backend takes
	maxChunk     = 8192
	maxSequences = 256
	maxCacheTok  = 1 << 30
	maxContext   = 1 << 24 // tokens; beyond, float32 no longer tells positions apart
	maxQueue     = 100_000
	maxTopK      = 1 << 20
	maxUIDs      = 1024
	minKeepAlive = time.Second
	maxKeepAlive = 10 * time.Minute
	maxDrain     = time.Hour
	maxTimeout   = 24 * time.Hour

	minCheckpoint, maxCheckpoint = time.Second, 24 * time.Hour
	maxModels                    = 256
	maxUserSessions              = 1_000_000
)

// DefaultConfig is the configuration of an empty file.
func DefaultConfig() Config {
	return Config{
		AllowSwitch: true,
		Socket:      Socket{Mode: FileMode{defaultSocketMode}, AllowUIDs: []uint32{}, KeepAlive: Duration{ipc.DefaultKeepAlive}},
		TCP:         TCP{Hosts: []string{}, Origins: []string{}},
		Engine: Engine{
			Backend: infer.DefaultBackend, Chunk: infer.DefaultChunkTok, MaxSequences: infer.DefaultMaxSeqs,
			Queue: infer.DefaultMaxQueue, CacheSequences: infer.DefaultCacheSeqs,
		},
		Store: Store{Enabled: true, Budget: defaultStoreBudget, Checkpoint: Duration{infer.DefaultCheckpoint}},
		// The defaults that local models are usually tuned and reported with.
		Sampling: Sampling{Temperature: 0.8, TopK: 40, TopP: 0.95, MinP: 0.05, TypicalP: 1, RepeatPenalty: 1},
		Stop:     Stop{Drain: Duration{30 * time.Second}},
	}
}

// Default is the name of the default model, "" without any model.
func (c Config) Default() string {
	if c.DefaultModel == "" && len(c.Models) > 0 {
		return c.Models[0].Name
	}
	return c.DefaultModel
}
