package infer

import (
	"errors"
	"slices"

	"edged/infer/fair"
)

// What a request is charged for a token, in units of the fairness accounts: a
// token of an answer takes a whole turn, one of a prompt shares it with a chunk.
const (
	promptUnits = 1
	answerUnits = 2
)

// leadUnits is how far ahead of a waiting one the client of a running request
// gets before that gives its place away: long beside what an exchange costs,
// short beside an answer.
const leadUnits = 512

// openAccounts lets requests that have come since the last turn take part. They
// stand at the end of the queue. Engine.mu is held.
func (o *owner) openAccounts() {
	q := o.e.queue
	from := len(q)
	for from > 0 && q[from-1].account == nil {
		from--
	}
	for _, t := range q[from:] {
		t.account = o.shares.Join(t.owner, t.client)
	}
}

// closeAccount ends a request's part in the queue. It may have none yet.
func (t *task) closeAccount() {
	if t.account != nil {
		t.account.Leave()
	}
}

// charge books that a task's tokens up to a position have been evaluated. Those
// that are evaluated once more, because the cache has lost them, cost nothing.
func (t *task) charge(pos float64) {
	if pos <= t.paid {
		return
	}
	prompt := max(min(pos, float64(t.nPrompt))-t.paid, 0)
	answer := pos - t.paid - prompt
	t.paid = pos
	t.account.Charge(promptUnits*prompt + answerUnits*answer)
}

// admitQueued gives places to waiting tasks, those first that were served least,
// and takes places from running ones that are far ahead. Engine.mu is held.
func (o *owner) admitQueued() {
	o.openAccounts()
	for !o.e.closed {
		t := o.nextWaiting()
		if t == nil || len(o.running) >= o.cfg.MaxSeqs && !o.makeWay(t) {
			return
		}
		if slices.Contains(o.parked, t) {
			o.parked = without(o.parked, t)
		} else {
			o.e.queue = without(o.e.queue, t)
			t.account.Charge(1) // places go round among those who come together
		}
		o.running = append(o.running, t)
	}
}

func without(ts []*task, t *task) []*task {
	return slices.DeleteFunc(ts, func(x *task) bool { return x == t })
}

// nextWaiting is the task that gets the next place, nil when there is none. A
// task for another model lets none overtake it but those that had begun before,
// or it might wait forever. Engine.mu is held.
func (o *owner) nextWaiting() *task {
	next := o.nextQueued()
	for _, t := range o.parked {
		if !t.out.full() && (next == nil || fair.Compare(t.account, next.account) < 0) {
			next = t
		}
	}
	return next
}

// nextQueued is the queued task that may begin next. It ends those that cannot.
// Engine.mu is held.
func (o *owner) nextQueued() *task {
	for len(o.e.queue) > 0 && len(o.e.loads) == 0 {
		t := o.firstQueued()
		err := o.fits(t)
		switch {
		case err == nil:
			return t
		case errors.Is(err, errOtherModel):
			return nil
		}
		o.e.queue = without(o.e.queue, t)
		t.closeAccount()
		t.out.finish(Result{}, err)
	}
	return nil
}

// firstQueued is the queued task of whoever was served least. Engine.mu is held.
func (o *owner) firstQueued() *task {
	return slices.MinFunc(o.e.queue, func(a, b *task) int { return fair.Compare(a.account, b.account) })
}

// makeWay parks a running task for a waiting one, and reports whether it did: one
// whose caller does not read, or one whose user or client is far ahead.
func (o *owner) makeWay(w *task) bool {
	var ahead *task
	for _, t := range o.running {
		switch {
		case !t.parkable():
		case t.out.full():
			o.park(t)
			return true
		case ahead == nil || fair.Compare(t.account, ahead.account) > 0:
			ahead = t
		}
	}
	if ahead == nil || !o.worthParking(ahead, w) {
		return false
	}
	o.park(ahead)
	return true
}

// parkable says whether nothing is under way that holds a task in its place.
func (t *task) parkable() bool {
	return t.wake == nil && !t.pinned() && (t.seq == nil || t.seq.Prefilling() == 0)
}

// worthParking says whether a running task is far enough ahead of a waiting one.
// Requests of one client wait for each other. Between clients of a user, nothing
// that was read is given up; between users, it is, once that is worth its price.
func (o *owner) worthParking(t, w *task) bool {
	lead, at := fair.Lead(t.account, w.account)
	switch {
	case at == fair.Requests:
		return false
	case t.seq == nil || o.parkedSeqs() < o.maxParked():
		return lead >= leadUnits
	case at == fair.Clients:
		return false
	}
	return lead >= leadUnits+float64(o.shortestParked().seq.Len())
}

// park takes a task's place and leaves it its sequence, while there is room.
func (o *owner) park(t *task) {
	o.log.Debug("request parked, others were served less", "request", t.id, "tokens", len(t.ids))
	o.running = without(o.running, t)
	o.parked = append(o.parked, t)
	for o.parkedSeqs() > o.maxParked() {
		o.setBack(o.shortestParked())
	}
	o.trim()
}

// maxParked is the number of parked sequences. They are taken from those that
// are kept for their prefixes.
func (o *owner) maxParked() int { return (o.cfg.CacheSeqs + 1) / 2 }

func (o *owner) parkedSeqs() (n int) {
	for _, t := range o.parked {
		if t.seq != nil {
			n++
		}
	}
	return n
}

// shortestParked is the parked task whose sequence is computed again soonest, nil
// when none has one.
func (o *owner) shortestParked() (shortest *task) {
	for _, t := range o.parked {
		if t.seq != nil && (shortest == nil || t.seq.Len() < shortest.seq.Len()) {
			shortest = t
		}
	}
	return shortest
}

// setBackParked takes the pages of a parked task, of those that come after t when
// that is not nil, and reports whether there was one.
func (o *owner) setBackParked(t *task) bool {
	var last *task
	for _, p := range o.parked {
		if p.seq != nil && (last == nil || fair.Compare(p.account, last.account) > 0) {
			last = p
		}
	}
	if last == nil || t != nil && fair.Compare(t.account, last.account) > 0 {
		return false
	}
	o.setBack(last)
	return true
}
