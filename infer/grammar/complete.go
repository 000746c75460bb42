package grammar

// completionTokens returns tokens that complete the text from a config, or
// false when that takes more than limit.
func (c *Constraint) completionTokens(x *config, limit int) ([]int32, bool) {
	if int64(x.cost) > int64(limit)*maxToken {
		return nil, false
	}
	text := c.completionBytes(x, int(x.cost))
	tokens := make([]int32, 0, min(limit, len(text)))
	for len(text) > 0 {
		if len(tokens) == limit {
			return nil, false
		}
		id, n := c.v.longest(text)
		tokens = append(tokens, id)
		text = text[n:]
	}
	return tokens, true
}

// completionBytes returns the first bytes, at most so many, of a shortest text that
// completes a config.
func (c *Constraint) completionBytes(x *config, most int) []byte {
	if x.accept {
		return nil
	}
	out := make([]byte, 0, min(most, int(x.cost)))
	at := c.cheapest(x.items)
	var rets []int32 // of calls that the completion itself makes
	for len(out) < most {
		switch how := c.best[at.state]; how.kind {
		case chooseByte:
			out = append(out, how.b)
			at.state = how.to
		case chooseSkip:
			at.state = how.to
		case chooseCall:
			rets = append(rets, how.call.ret)
			at.state = c.g.starts[how.call.rule]
		case chooseEnd:
			if n := len(rets); n > 0 {
				at.state, rets = rets[n-1], rets[:n-1]
			} else if at.up.bottom {
				return out
			} else {
				at = c.cheapest(at.up.items)
			}
		}
	}
	return out
}

func (c *Constraint) cheapest(items []item) item {
	best := items[0]
	for _, it := range items[1:] {
		if plus(c.cost[it.state], it.up.cost) < plus(c.cost[best.state], best.up.cost) {
			best = it
		}
	}
	return best
}
