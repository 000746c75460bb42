package fair

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// next is the request that comes first.
func next(rs []*Request) *Request { return slices.MinFunc(rs, Compare) }

func TestUsersShareEquallyHoweverManyClientsTheyRun(t *testing.T) {
	var tree Tree
	rs := []*Request{tree.Join(1, "only")}
	for i := range 9 {
		rs = append(rs, tree.Join(2, fmt.Sprint(i)))
	}
	for range 1000 {
		next(rs).Charge(1)
	}
	if rs[0].own.served != 500 {
		t.Errorf("the user with one client got %g of 1000 units", rs[0].own.served)
	}
	for i, r := range rs[1:] {
		if r.own.served < 55 || r.own.served > 56 {
			t.Errorf("client %d of the other user got %g of 500 units", i, r.own.served)
		}
	}
}

// A request that comes late gets its share from then on: no more, and no less.
func TestLateOnesAreOwedNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		user   User
		client string
	}{{"user", 2, "a"}, {"client", 1, "b"}, {"request", 1, "a"}} {
		t.Run(c.name, func(t *testing.T) {
			var tree Tree
			old := tree.Join(1, "a")
			old.Charge(1e6)
			late := tree.Join(c.user, c.client)
			before := old.own.served
			for range 100 {
				next([]*Request{old, late}).Charge(10)
			}
			if got := old.own.served - before; got != 500 {
				t.Errorf("the older one got %g of 1000 units", got)
			}
		})
	}
}

func TestLeavingDoesNotHelp(t *testing.T) {
	var tree Tree
	stays := tree.Join(1, "a")
	hops := tree.Join(2, "a")
	hops.Charge(300)
	hops.Leave()
	hops = tree.Join(2, "a")
	if lead, at := Lead(hops, stays); lead != 300 || at != Users {
		t.Errorf("after coming back, it leads by %g at %d", lead, at)
	}
	stays.Charge(1000)
	hops.Leave() // behind now: nothing to remember
	if n := len(tree.users.all); n != 1 {
		t.Errorf("%d accounts are kept", n)
	}
	stays.Leave()
	if len(tree.users.all) != 0 || !tree.Idle() {
		t.Errorf("an idle tree keeps %d accounts", len(tree.users.all))
	}
}

func TestIdleAccountsAreBounded(t *testing.T) {
	var tree Tree
	tree.Join(0, "a")
	var rs []*Request
	for i := range 4 * maxIdle {
		rs = append(rs, tree.Join(User(i+1), "a"))
	}
	for i, r := range rs {
		r.Charge(1e6 + float64(i))
	}
	for _, r := range rs {
		r.Leave()
	}
	if n := len(tree.users.all) - tree.users.active; n > maxIdle {
		t.Errorf("%d idle accounts", n)
	}
}

// Whatever joins, leaves and is charged: the order is total, the one that comes
// first belongs to the least served user, and to that user's least served client,
// so that nobody is served who is more than one charge ahead of another.
func TestTreeStateMachine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tree Tree
		var rs []*Request
		rt.Repeat(map[string]func(*rapid.T){
			"join": func(rt *rapid.T) {
				rs = append(rs, tree.Join(User(rapid.IntRange(0, 3).Draw(rt, "user")), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "client")))
			},
			"leave": func(rt *rapid.T) {
				if len(rs) > 0 {
					i := rapid.IntRange(0, len(rs)-1).Draw(rt, "who")
					rs[i].Leave()
					rs = slices.Delete(rs, i, i+1)
				}
			},
			"charge": func(rt *rapid.T) {
				if len(rs) > 0 {
					rapid.SampledFrom(rs).Draw(rt, "who").Charge(float64(rapid.IntRange(1, 1000).Draw(rt, "units")))
				}
			},
			"serve": func(rt *rapid.T) {
				before := map[*Request]float64{}
				for _, r := range rs {
					before[r] = r.user.served
				}
				for range 500 * min(len(rs), 1) {
					next(rs).Charge(20)
				}
				for a, was := range before {
					for b := range before {
						if lead := a.user.served - b.user.served; a.user.served > was && lead > 20 {
							rt.Fatalf("user %d was served while %g units ahead of user %d", a.user.key, lead, b.user.key)
						}
					}
				}
			},
			"": func(rt *rapid.T) {
				checkOrder(rt, rs)
				checkCounts(rt, &tree, rs)
			},
		})
	})
}

func checkOrder(rt *rapid.T, rs []*Request) {
	if len(rs) == 0 {
		return
	}
	sorted := slices.Clone(rs)
	slices.SortFunc(sorted, Compare)
	for i := range sorted {
		for j := range sorted {
			if got := Compare(sorted[i], sorted[j]); (got < 0) != (i < j) {
				rt.Fatalf("%d and %d compare as %d", i, j, got)
			}
		}
	}
	first := sorted[0]
	for _, r := range rs {
		switch {
		case r.user.served < first.user.served:
			rt.Fatal("a user that was served less comes later")
		case r.user == first.user && r.client.served < first.client.served:
			rt.Fatal("a client that was served less comes later")
		}
	}
}

func checkCounts(rt *rapid.T, tree *Tree, rs []*Request) {
	active := map[User]int{}
	for _, r := range rs {
		active[r.user.key]++
	}
	for key, u := range tree.users.all {
		if u.requests != active[key] {
			rt.Fatalf("user %d has %d requests, %d are counted", key, active[key], u.requests)
		}
	}
	if n := len(tree.users.all) - tree.users.active; len(active) != tree.users.active || n > maxIdle {
		rt.Fatalf("%d users are active, %d are counted; %d are idle", len(active), tree.users.active, n)
	}
}

// Ever new requests, clients or users do not hold up one that is there.
func TestNewOnesDoNotStarveAnOldOne(t *testing.T) {
	for _, kind := range []string{"users", "clients", "requests"} {
		t.Run(kind, func(t *testing.T) {
			var tree Tree
			old := tree.Join(0, "old")
			old.Charge(16)
			n := 0
			join := func() *Request {
				n++
				switch kind {
				case "users":
					return tree.Join(User(n), "a")
				case "clients":
					return tree.Join(0, strconv.Itoa(n))
				}
				return tree.Join(0, "old")
			}
			rs, before := []*Request{old, join(), join(), join()}, old.own.served
			for range 400 {
				r := next(rs)
				r.Charge(16)
				if r != old {
					r.Leave()
					rs[slices.Index(rs, r)] = join()
				}
			}
			if got := (old.own.served - before) / 16; got < 95 {
				t.Errorf("the old one was served %g times of 400 beside three others", got)
			}
		})
	}
}
