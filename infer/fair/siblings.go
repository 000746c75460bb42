package fair

// account is what a user, a client or a request was served.
type account[K comparable, T any] struct {
	key      K
	served   float64 // units
	requests int     // below, or 1
	since    uint64  // number of the request that made it active
	of       T
}

// siblings are the accounts below one parent.
type siblings[K comparable, T any] struct {
	all    map[K]*account[K, T]
	active int     // of them
	part   float64 // units that one was served that has always taken its part
}

// enter counts a request of an account.
func (s *siblings[K, T]) enter(key K, request uint64) *account[K, T] {
	a := s.all[key]
	if a == nil {
		if s.all == nil {
			s.all = map[K]*account[K, T]{}
		}
		a = &account[K, T]{key: key}
		s.all[key] = a
	}
	if a.requests == 0 {
		a.served, a.since = max(a.served, s.part), request
		s.active++
	}
	a.requests++
	return a
}

// charge books what an account was served, which the active ones have shared.
func (s *siblings[K, T]) charge(a *account[K, T], units float64) {
	a.served += units
	s.part += units / float64(s.active)
}

// leave ends what enter began.
func (s *siblings[K, T]) leave(a *account[K, T]) {
	if a.requests--; a.requests > 0 {
		return
	}
	s.active--
	s.forget()
}

// forget drops idle accounts that are not ahead of their part, and of the others
// those that are ahead least, when there are too many.
func (s *siblings[K, T]) forget() {
	for key, a := range s.all {
		if a.requests == 0 && (a.served <= s.part || s.active == 0) {
			delete(s.all, key)
		}
	}
	for len(s.all)-s.active > maxIdle {
		var least *account[K, T]
		for _, a := range s.all {
			if a.requests == 0 && (least == nil || a.served < least.served) {
				least = a
			}
		}
		delete(s.all, least.key)
	}
}
