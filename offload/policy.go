package offload

import (
	"fmt"
	"sort"
	"strings"
)

// Policy says what a cache keeps of each token and how attention may read it.
type Policy struct {
	Name string
	Elem Elem // format of resident K and V
}

// policies is the registry. Every policy is compared with "full", which keeps
// every token's K and V in f16 and reads all of them.
var policies = map[string]Policy{
	"full": {Name: "full", Elem: F16},
}

// PolicyByName finds a registered policy; the error lists the known ones.
func PolicyByName(name string) (Policy, error) {
	if p, ok := policies[name]; ok {
		return p, nil
	}
	names := make([]string, 0, len(policies))
	for n := range policies {
		names = append(names, n)
	}
	sort.Strings(names)
	return Policy{}, fmt.Errorf("find cache policy: %q is not known; known: %s", name, strings.Join(names, ", "))
}
