package api

// Condition is something that is wrong with the daemon now.
type Condition struct {
	Code     string `json:"code"`
	Severity string `json:"severity"` // "info", "warning" or "error"
	Title    string `json:"title"`
	Text     string `json:"text"`
	Since    int64  `json:"since"` // Unix seconds
	Remedy   string `json:"remedy"`
}

// Status is the answer of GET /status: what the daemon does, all users together.
type Status struct {
	Version       string  `json:"version"`
	PID           int     `json:"pid"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	State         string  `json:"state"` // as /readyz reports it
	Text          string  `json:"text,omitempty"`
	Backend       string  `json:"backend"`

	Conditions []Condition   `json:"conditions"` // the worst first
	Model      *LoadedModel  `json:"model"`      // null while none is resident
	Requests   RequestStatus `json:"requests"`
	Tokens     TokenCounts   `json:"tokens"`
	LastStep   *StepStatus   `json:"last_step"` // null before the first
	Memory     []MemoryUse   `json:"memory"`    // what models hold
	Host       HostStatus    `json:"host"`
	Store      *StoreStatus  `json:"store"` // null when no sessions are kept
}

// LoadedModel is the model that is resident.
type LoadedModel struct {
	ID           string `json:"id"`
	Context      int    `json:"context"`       // tokens that are served
	TrainContext int    `json:"train_context"` // tokens
	Cache        string `json:"cache"`         // how tokens are kept
	CacheTokens  int    `json:"cache_tokens"`  // that the KV cache was made for
	FreeTokens   int    `json:"free_tokens"`   // that it can take without freeing any
	IdleKept     int    `json:"idle_kept"`     // finished conversations that are kept in it
}

// RequestStatus counts generations.
type RequestStatus struct {
	Running   int `json:"running"`
	Queued    int `json:"queued"`
	MaxQueued int `json:"max_queued"`
}

// TokenCounts are sums since the start.
type TokenCounts struct {
	Read      uint64 `json:"read"`      // prompt tokens that the model computed
	Generated uint64 `json:"generated"` // sampled
	Narrowed  uint64 `json:"narrowed"`  // of these, those whose logits did not have to leave the device whole
}

// StepStatus is the last step that succeeded.
type StepStatus struct {
	AgeSeconds float64 `json:"age_seconds"`
	Seconds    float64 `json:"seconds"` // that it took
}

// MemoryUse is memory of one purpose.
type MemoryUse struct {
	Tier    string `json:"tier"` // "host" or "device"
	Purpose string `json:"purpose"`
	Bytes   int64  `json:"bytes"`
}

// HostStatus is the machine's memory, in bytes.
type HostStatus struct {
	Total     int64    `json:"total"`
	Available int64    `json:"available"`
	Pressure  *float64 `json:"pressure"` // share of the last ten seconds in which something waited for memory; null where the kernel does not say
}

// StoreStatus is what is stored of sessions.
type StoreStatus struct {
	Sessions  int   `json:"sessions"`
	DiskBytes int64 `json:"disk_bytes"`
	Budget    int64 `json:"budget"` // bytes, 0 = no limit
}
