package daemon

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"edged/infer"
	"edged/offload"
)

// modelName is what a [[model]] may be called: it appears in URLs and in JSON.
var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)

// problem is a value outside its limits.
type problem struct {
	key  string // with an index for array tables: "model[1].context"
	text string // limits and value
}

func (p problem) String() string { return p.key + " " + p.text }

// checker collects problems.
type checker struct{ found []problem }

func (k *checker) addf(key, format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = shown(s)
		}
	}
	k.found = append(k.found, problem{key, fmt.Sprintf(format, args...)})
}

func (k *checker) between(key string, v, low, high int) {
	if v < low || v > high {
		k.addf(key, "must be between %d and %d, got %d", low, high, v)
	}
}

func (k *checker) duration(key string, v Duration, low, high time.Duration) {
	if v.Duration < low || v.Duration > high {
		k.addf(key, "must be between %v and %v, got %v", low, high, v)
	}
}

func (k *checker) number(key string, v, low, high float64) {
	if !(v >= low && v <= high) { // also catches NaN
		k.addf(key, "must be between %g and %g, got %g", low, high, v)
	}
}

// sampling applies the limits that docs/API.md sets for requests.
func (k *checker) sampling(s Sampling) {
	k.number("sampling.temperature", s.Temperature, 0, 2)
	k.between("sampling.top_k", s.TopK, 0, maxTopK)
	k.number("sampling.top_p", s.TopP, 0.001, 1)
	k.number("sampling.min_p", s.MinP, 0, 1)
	k.number("sampling.typical_p", s.TypicalP, 0.001, 1)
	k.number("sampling.repeat_penalty", s.RepeatPenalty, 0.1, 10)
}

// credentialName is what systemd takes for the name of a credential.
var credentialName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}$`)

func (k *checker) store(s Store) {
	if s.Budget < 0 {
		k.addf("store.budget", "must not be negative, got %d", int64(s.Budget))
	}
	if s.UserBudget < 0 {
		k.addf("store.user_budget", "must not be negative, got %d", int64(s.UserBudget))
	}
	k.between("store.user_sessions", s.UserSessions, 0, maxUserSessions)
	k.duration("store.checkpoint", s.Checkpoint, minCheckpoint, maxCheckpoint)
	if strings.ContainsRune(s.Dir, 0) {
		k.addf("store.dir", "must not contain a NUL byte")
	}
	if s.KeyCredential != "" && !credentialName.MatchString(s.KeyCredential) {
		k.addf("store.key_credential", "must be the name of a credential: 1 to 255 letters, digits or . _ -, not beginning with a dot, got %q", s.KeyCredential)
	}
}

// validate lists every value outside its limits, in the order of the fields.
func (c Config) validate() []problem {
	var k checker
	k.duration("socket.keepalive", c.Socket.KeepAlive, minKeepAlive, maxKeepAlive)
	if n := len(c.Socket.AllowUIDs); n > maxUIDs {
		k.addf("socket.allow_uids", "must list at most %d users, got %d", maxUIDs, n)
	}
	if m := c.Socket.Mode.Perm; m&0o600 != 0o600 {
		k.addf("socket.mode", "must let the owner read and write (0600), got %v", c.Socket.Mode)
	}
	k.tcp(c.TCP)
	if !slices.Contains(Backends(), c.Engine.Backend) {
		k.addf("engine.backend", "must be one of %s, got %q", strings.Join(Backends(), ", "), c.Engine.Backend)
	}
	k.between("engine.threads", c.Engine.Threads, 0, maxThreads)
	k.between("engine.chunk", c.Engine.Chunk, 1, maxChunk)
	k.between("engine.max_sequences", c.Engine.MaxSequences, 1, maxSequences)
	k.between("engine.queue", c.Engine.Queue, 1, maxQueue)
	k.duration("engine.queue_timeout", c.Engine.QueueTimeout, 0, maxTimeout)
	k.duration("engine.request_timeout", c.Engine.RequestTimeout, 0, maxTimeout)
	k.between("engine.cache_tokens", c.Engine.CacheTokens, 0, maxCacheTok)
	k.between("engine.cache_sequences", c.Engine.CacheSequences, 1, maxSequences)
	if c.Engine.GPUReserve < 0 {
		k.addf("engine.gpu_reserve", "must not be negative, got %d", int64(c.Engine.GPUReserve))
	}
	if c.Engine.HostMemory < 0 {
		k.addf("engine.host_memory", "must not be negative, got %d", int64(c.Engine.HostMemory))
	}
	k.store(c.Store)
	k.sampling(c.Sampling)
	k.duration("stop.drain", c.Stop.Drain, 0, maxDrain)
	c.validateModels(&k)
	return k.found
}

func (c Config) validateModels(k *checker) {
	if n := len(c.Models); n > maxModels {
		k.addf("model", "must have at most %d entries, got %d", maxModels, n)
		return
	}
	first := map[string]int{}
	for i, m := range c.Models {
		key := func(name string) string { return fmt.Sprintf("model[%d].%s", i, name) }
		if !modelName.MatchString(m.Name) {
			k.addf(key("name"), "must have 1 to 128 letters, digits or . _ : / - and begin with a letter or digit, got %q", m.Name)
		}
		if j, taken := first[m.Name]; taken {
			k.addf(key("name"), "is %q like that of model[%d]; names must differ", m.Name, j)
		} else {
			first[m.Name] = i
		}
		if m.Context != 0 {
			k.between(key("context"), m.Context, infer.MinContext, maxContext)
		}
		if _, err := offload.PolicyByName(m.Policy); m.Policy != "" && err != nil {
			k.addf(key("policy"), "cannot be used: %v", err)
		}
		if strings.ContainsRune(m.Path, 0) {
			k.addf(key("path"), "must not contain a NUL byte")
		}
	}
	if _, known := first[c.DefaultModel]; c.DefaultModel != "" && !known {
		k.addf("default_model", "must be the name of a [[model]], got %q; known: %s", c.DefaultModel, modelNames(c.Models))
	}
}

func modelNames(models []Model) string {
	if len(models) == 0 {
		return "none"
	}
	var names []string
	for _, m := range models {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
