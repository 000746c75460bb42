package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"edged/daemon"
)

// cacheFlags are how a measurement keeps keys and values.
type cacheFlags struct {
	cache *daemon.Cache
	dense string
}

func addCacheFlags(f *pflag.FlagSet, c *daemon.Cache) *cacheFlags {
	v := &cacheFlags{cache: c}
	f.StringVar(&c.Policy, "policy", "", "cache policy, such as full, q8, q4, auto, auto+q4 or tailorkv (default: full)")
	f.StringVar(&c.Fast, "fast", "", "`SIZE` of the cache's fast tier: bytes, or a share of an exact cache such as 12.5% (default: no limit)")
	f.IntVar(&c.Options.Budget, "budget", 0, "tokens that a KV head attends to (default: the policy's)")
	f.IntVar(&c.Options.Exchange, "exchange", 0, "auto: tokens of the budget that a step replaces at most (default 640)")
	f.StringVar(&v.dense, "dense", "", "layers that are kept whole in the fast tier: a `LIST` such as 0,1, or none")
	f.BoolVar(&c.Options.Sparse, "sparse", false, "auto: choose tokens though all would fit the fast tier")
	f.BoolVar(&c.Options.Estimate, "estimate", false, "auto: let pages' mean values stand for what was not chosen")
	return v
}

// parsed has them parsed before the command runs.
func (v *cacheFlags) parsed(cmd *cobra.Command) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		return v.parse(cmd)
	}
}

func (v *cacheFlags) parse(cmd *cobra.Command) error {
	err := errors.Join(positive(cmd, "budget", "exchange"), parseLayers(v.dense, &v.cache.Options.Dense), v.cache.Check())
	if err != nil {
		return usageError{err}
	}
	return nil
}
