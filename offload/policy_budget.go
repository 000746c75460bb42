package offload

import "fmt"

// tailorChoice is one of the two sets of parameters that TailorKV was
// published with (arXiv:2505.19586, tables 5 and 6), in tokens but for the
// channels: of a budget, sink and recent tokens are always attended to.
type tailorChoice struct{ budget, channels, sink, recent int }

var (
	tailorSmall = tailorChoice{budget: 192, channels: 8, sink: 8, recent: 56}
	tailorLarge = tailorChoice{budget: 1024, channels: 12, sink: 64, recent: 64}
)

// mostBudget is above every context: a larger budget is no number of tokens.
const mostBudget = 1 << 24

// plausible refuses budgets that no context could hold; those that a short one cannot
// are taken as all of it.
func (o Options) plausible() error {
	if o.Budget > mostBudget {
		return fmt.Errorf("%w: a budget of %d tokens is above %d, which no context has", ErrOptions, o.Budget, mostBudget)
	}
	return nil
}

// pageBudget settles a budget that is spent in pairs of cold pages, and what a
// step exchanges of it.
func (o Options) pageBudget(s *settings, context int) error {
	if s.exchange = o.Exchange / ColdTok; o.Exchange != 0 && (s.exchange < 1 || o.Exchange%ColdTok != 0) {
		return fmt.Errorf("%w: an exchange of %d tokens a step is not whole cold pages of %d", ErrOptions, o.Exchange, ColdTok)
	}
	b, all := o.Budget, pagesFor(context)*PageTok
	if b == 0 {
		return nil // what fits
	}
	if b < PageTok {
		return fmt.Errorf("%w: a budget of %d tokens is below %d, two cold pages", ErrOptions, b, PageTok)
	}
	if b > all {
		s.note("a budget of %d tokens means all %d of the context", b, context)
		b = all
	}
	if b%PageTok != 0 {
		low := b / PageTok * PageTok
		return fmt.Errorf("%w: a budget of %d tokens is not a multiple of %d: %d and %d are", ErrOptions, b, PageTok, low, low+PageTok)
	}
	s.budget = b / ColdTok
	return nil
}

// tokenBudget settles TailorKV's budget. The exact tail holds more than the
// recent tokens that the paper counts, so that they take no records.
func (o Options) tokenBudget(s *settings, layers []LayerSpec, context int) error {
	c := tailorLarge
	if o.Budget != 0 && o.Budget < tailorLarge.budget {
		c = tailorSmall
	}
	if o.Budget != 0 {
		c.budget = o.Budget
	}
	if o.Sink != 0 {
		c.sink = o.Sink
	}
	if c.sink < 0 || c.budget <= c.sink+c.recent {
		return fmt.Errorf("%w: a budget of %d tokens leaves none to choose beside %d sink and %d recent tokens", ErrOptions, c.budget, c.sink, c.recent)
	}
	s.budget, s.sink = c.budget-c.recent, c.sink
	if s.budget > context {
		if o.Budget != 0 {
			s.note("a budget of %d tokens means all %d of the context", o.Budget, context)
		}
		s.budget, s.sink = context, min(s.sink, context)
	}
	return o.streamed(s, c.channels, layers)
}

// streamed settles the channels that are streamed. Heads narrower than the
// paper's stream all of theirs.
func (o Options) streamed(s *settings, preset int, layers []LayerSpec) error {
	if s.channels = o.Channels; s.channels == 0 {
		s.channels = preset
		return nil
	}
	for i, l := range layers {
		if l.Window == 0 && (o.Channels < 0 || o.Channels > l.HeadDim) {
			return fmt.Errorf("%w: %d channels, layer %d has 1 to %d", ErrOptions, o.Channels, i, l.HeadDim)
		}
	}
	return nil
}

func (s *settings) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}
