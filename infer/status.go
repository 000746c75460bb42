package infer

import (
	"time"

	"edged/offload"
	"edged/pinnedmem"
)

// State is where the engine is in its life.
type State int

const (
	Empty    State = iota // nothing loaded, nothing asked for
	Loading               // a model is on its way in
	Ready                 // a real decode has succeeded
	Draining              // finishes what it has, accepts nothing new
	Failed                // not able to answer; Status.Reason says why
	Closed
)

func (s State) String() string {
	return [...]string{"empty", "loading", "ready", "draining", "failed", "closed"}[s]
}

// Status is a snapshot.
type Status struct {
	State  State
	Reason string       // set in Failed
	Load   LoadProgress // set in Loading
	// Retries says in Failed that the model could not be loaded, and is tried again: for a
	// request or by Prove once its file is another one, and for a request after a while.
	Retries bool

	Model        string // resident model, "" when none
	Context      int    // that it is served with, tokens
	TrainContext int    // its own, tokens
	Short        string // HostLimit, DeviceLimit or LockLimit, where Context was chosen and is less

	Running, Queued int // requests

	LastStep     time.Time       // end of the last step that succeeded
	LastStepTime time.Duration   // how long that step took
	LongestHold  time.Duration   // that steps have waited for a session's sequence to be claimed for its Keeper, at most
	Memory       pinnedmem.Usage // bytes per purpose, both tiers
	FastMemory   pinnedmem.Usage // of these, those in a tier of its own, such as a device's
	ReadTok      uint64          // prompt tokens evaluated since the start
	GeneratedTok uint64          // tokens sampled since the start
	NarrowedTok  uint64          // of these, those whose logits the backend did not have to give whole
	FreeTok      int             // tokens that the KV cache can take without freeing anything
	CacheTok     int             // tokens that the KV cache was made for
	KeptSeqs     int             // finished sequences kept for their prefixes
	Cache        string          // how tokens are kept: "exact f16", "q8 resident", "paged q8"
	ExactBytes   int64           // of an f16 cache of as many tokens
	Traffic      offload.Traffic // what decode steps have moved between the cache's tiers
}

// LoadProgress counts weight bytes.
type LoadProgress struct {
	Model       string
	Done, Total int64 // bytes; Total is 0 until the file is open
}

// ModelInfo describes a configured model.
type ModelInfo struct {
	Name     string
	Path     string
	Modified time.Time // of the file; zero when it cannot be read
	Resident bool

	Context int // tokens that are served; 0 = not known before it was resident

	// The following are read from the file when the model is first used; until
	// then they are 0 or "".
	Arch         string
	TrainContext int   // tokens
	Params       int64 // number of weights
	Bytes        int64 // size of the file, all parts
	Vocab        int   // tokens
	Chat         bool  // has a chat template
}
