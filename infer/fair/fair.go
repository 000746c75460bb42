// Package fair accounts for who has been served how much, and tells who is next.
//
// The accounts are a tree: users, a user's clients, a client's requests. Users
// share what there is equally, however many clients they run, and a user's
// clients share their user's part. An account that becomes active begins with
// what the least served of its active siblings has had: nobody saves up service
// while idle, and nobody is owed anything for having come late. An account that
// becomes idle ahead of its siblings is remembered until they have caught up, so
// that leaving and coming back gains nothing.
//
// Service is counted in units of the caller's choice and needs no clock.
//
// # Ownership
//
// A [Tree] owns its accounts. A [Request] must leave the tree that it has joined.
//
// # Goroutine-safety
//
// None: a tree belongs to one goroutine.
//
// # Failure modes
//
// None. Of very many accounts that became idle ahead of their part, those that
// were ahead least are forgotten.
package fair

import "cmp"

// maxIdle is the number of idle accounts per parent that are remembered.
const maxIdle = 256

// User is an operating system's user.
type User = uint32

// Tree is the accounts of all users. The zero value is ready.
type Tree struct {
	users siblings[User, userAccount]
	next  uint64 // number of the next request
}

type userAccount struct {
	clients siblings[string, clientAccount]
}

type clientAccount struct {
	requests siblings[uint64, struct{}] // by number
}

// Request is the account of one request, and its way to the root.
type Request struct {
	tree   *Tree
	user   *account[User, userAccount]
	client *account[string, clientAccount]
	own    *account[uint64, struct{}]
}

// Join opens the account of a request of a user's client.
func (t *Tree) Join(user User, client string) *Request {
	t.next++
	r := &Request{tree: t}
	r.user = t.users.enter(user, t.next)
	r.client = r.user.of.clients.enter(client, t.next)
	r.own = r.client.of.requests.enter(t.next, t.next)
	return r
}

// Leave closes the account. It must not be used afterwards.
func (r *Request) Leave() {
	r.client.of.requests.leave(r.own)
	r.user.of.clients.leave(r.client)
	r.tree.users.leave(r.user)
}

// Idle says whether no account is open.
func (t *Tree) Idle() bool { return t.users.active == 0 }

// Charge books units that the request was served.
func (r *Request) Charge(units float64) {
	r.client.of.requests.charge(r.own, units)
	r.user.of.clients.charge(r.client, units)
	r.tree.users.charge(r.user, units)
}

// Level is where two requests part: at the root, at their user or at their client.
type Level int

// Levels of the tree.
const (
	Users    Level = iota // of different users
	Clients               // of one user's different clients
	Requests              // of one client
)

// Lead is how many units a's side has been served more than b's, at the level at
// which they part.
func Lead(a, b *Request) (units float64, at Level) {
	switch {
	case a.user != b.user:
		return a.user.served - b.user.served, Users
	case a.client != b.client:
		return a.client.served - b.client.served, Clients
	}
	return a.own.served - b.own.served, Requests
}

// Compare is negative when a comes before b: its side was served less, or as much
// and became active first. It is a total order of the requests of a tree.
func Compare(a, b *Request) int {
	switch {
	case a.user != b.user:
		return cmp.Or(cmp.Compare(a.user.served, b.user.served), cmp.Compare(a.user.since, b.user.since))
	case a.client != b.client:
		return cmp.Or(cmp.Compare(a.client.served, b.client.served), cmp.Compare(a.client.since, b.client.since))
	}
	return cmp.Or(cmp.Compare(a.own.served, b.own.served), cmp.Compare(a.own.since, b.own.since))
}
