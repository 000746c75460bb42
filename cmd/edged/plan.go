package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"edged/daemon"
)

const planHelp = `Plan the KV cache of a model: how each layer is kept, what that takes of GPU
and host memory, and what a token moves. Nothing is loaded.

What the engine runs at once and keeps comes from the configuration file, so that
the sums are what the daemon takes; --sessions plans for that many sessions of a
whole context each instead. Without --gpu everything lies in host memory; with it,
activations are those of an H100. The predicted time per token is
the least that the named ceilings of memory and bus allow; a real step takes
longer. A plan that does not fit is refused with what would.`

func (a *app) planCommand() *cobra.Command {
	var (
		p               = daemon.Planning{Paths: a.paths}
		gpu, host       string
		dense           string
		asJSON, program bool
	)
	cmd := &cobra.Command{
		Use:     "plan MODEL",
		Short:   "plan a KV cache",
		Long:    planHelp,
		Example: "  edged plan needle-26m-q8_0 --context 8192 --gpu 60MiB --policy auto --program",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	src := a.configSource(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		p.Model = args[0]
		a.settle(src)
		if p.Engine, err = src.Engine(); err != nil {
			return &daemon.ConfigError{Err: err}
		}
		err = errors.Join(positive(cmd, "context", "sessions", "budget"), realRates(cmd, "gpu-gbs", "bus-gbs"),
			parseSize("gpu", gpu, &p.GPU), parseSize("host", host, &p.Host), parseLayers(dense, &p.Options.Dense))
		if err != nil {
			return usageError{err}
		}
		switch {
		case asJSON && program:
			return usageError{errors.New("--json and --program exclude each other")}
		case p.GPU == 0 && p.GPURate+p.BusRate > 0:
			return usageError{errors.New("--gpu-gbs and --bus-gbs predict nothing without --gpu")}
		}
		return a.plan(p, asJSON, program)
	}
	f := cmd.Flags()
	f.IntVar(&p.Context, "context", 0, "tokens of one session (default: the model's own)")
	f.IntVar(&p.Sessions, "sessions", 0, "sessions of a whole context that are resident at once (default: what the engine runs and keeps, in its cache)")
	f.StringVar(&p.Policy, "policy", "auto", "cache policy, such as full, q8, q4, auto, auto+q4 or tailorkv")
	f.IntVar(&p.Options.Budget, "budget", 0, "tokens that a KV head attends to (default: the policy's)")
	f.StringVar(&dense, "dense", "", "layers that are kept whole in GPU memory: a `LIST` such as 0,1, or none")
	f.StringVar(&gpu, "gpu", "", "`BYTES` of GPU memory for weights, activations and cache, such as 24GiB")
	f.StringVar(&host, "host", "", "`BYTES` of host memory (default: engine.host_memory, or what this machine has left)")
	f.BoolVar(&p.Lock, "lock", false, "this machine's host memory is to be locked: mind RLIMIT_MEMLOCK")
	f.Float64Var(&p.GPURate, "gpu-gbs", 0, "`GB/s` that the GPU reads its memory with (default: as measured on an H100)")
	f.Float64Var(&p.BusRate, "bus-gbs", 0, "`GB/s` from host to GPU memory (default: as measured on an H100)")
	f.BoolVar(&program, "program", false, "print the model's program with its cache ops")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (a *app) plan(p daemon.Planning, asJSON, program bool) error {
	p.GPURate, p.BusRate = p.GPURate*1e9, p.BusRate*1e9
	r, err := p.Plan()
	switch {
	case err != nil:
		return err
	case asJSON:
		return a.printJSON(r.JSON())
	case program:
		return a.print(r.Program.String())
	}
	return a.printTable(r.WriteTable)
}

// positive refuses numbers that were given and are not above 0: only a flag
// that is left out means a default.
func positive(cmd *cobra.Command, names ...string) error {
	return within(cmd, math.SmallestNonzeroFloat64, math.MaxFloat64, "above 0", names)
}

// within refuses numbers that were given and are below low or above high.
func within(cmd *cobra.Command, low, high float64, must string, names []string) error {
	for _, name := range names {
		f := cmd.Flag(name)
		if v, err := strconv.ParseFloat(f.Value.String(), 64); f.Changed && (err != nil || !(v >= low && v <= high)) {
			return fmt.Errorf("--%s is %s, must be %s", name, f.Value, must)
		}
	}
	return nil
}

// The slowest and the fastest memory and bus that are planned for, GB/s: no device comes
// near, and what is read divided by them is a time.
const slowest, fastest = 1e-3, 1e9

// realRates refuses what is no rate of a memory or a bus.
func realRates(cmd *cobra.Command, names ...string) error {
	return within(cmd, slowest, fastest, fmt.Sprintf("from %g to %g GB/s", slowest, fastest), names)
}

func parseSize(flag, text string, s *daemon.Size) error {
	if text == "" {
		return nil
	}
	if err := s.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	if *s == 0 {
		return fmt.Errorf("--%s is 0, must be above 0", flag)
	}
	return nil
}

// parseLayers leaves the policy's choice when nothing is given.
func parseLayers(text string, layers *[]int) error {
	if text == "" {
		return nil
	}
	*layers = []int{}
	if text == "none" {
		return nil
	}
	for _, s := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			return fmt.Errorf("--dense is %q, must be layers such as 0,1, or none", text)
		}
		*layers = append(*layers, n)
	}
	return nil
}
